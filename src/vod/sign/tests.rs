//! Vectors that Alibaba publishes, and ones that its own SDK computed. None comes from this code.

use super::*;

fn parameters<const N: usize>(pairs: [(&'static str, &str); N]) -> BTreeMap<&'static str, String> {
    pairs.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

fn rpc_signature<const N: usize>(
    secret: &str,
    method: &str,
    pairs: [(&'static str, &str); N],
) -> String {
    let query = canonical_query(&parameters(pairs));
    rpc::signature(secret, &rpc::string_to_sign(method, &query))
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

#[test]
fn only_unreserved_characters_stay_unencoded() {
    assert_eq!(percent_encode("AZaz09-_.~"), "AZaz09-_.~");
    assert_eq!(percent_encode("a b*+/=&封"), "a%20b%2A%2B%2F%3D%26%E5%B0%81");
}

#[test]
fn parameters_are_sorted_by_byte_order() {
    let all = parameters([("b", "2"), ("B", "1"), ("a", "3"), ("Aa", "0")]);
    assert_eq!(canonical_query(&all), "Aa=0&B=1&a=3&b=2");
}

#[test]
fn rpc_v1_describe_regions() {
    let signature = rpc_signature(
        "testsecret",
        "GET",
        [
            ("AccessKeyId", "testid"),
            ("Action", "DescribeRegions"),
            ("Format", "XML"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf"),
            ("SignatureVersion", "1.0"),
            ("Timestamp", "2016-02-23T12:46:24Z"),
            ("Version", "2014-05-26"),
        ],
    );
    assert_eq!(signature, "OLeaidS1JvxuMvnyHOwuJ+uX5qY=");
}

#[test]
fn rpc_v2_the_example_of_the_vod_documentation_in_every_stage() {
    let own = parameters([("VideoId", "5aed81b74ba84920be578cdfe004af4b")]);
    let request = Request {
        method: "GET",
        host: "vod.cn-shanghai.aliyuncs.com",
        version: "2017-03-21",
        action: "GetVideoPlayAuth",
        parameters: &own,
    };
    let identity = Identity {
        access_key_id: "testAccessKeyId",
        access_key_secret: "testAccessKeySecret",
        security_token: None,
    };
    let nonce = "8f8a035d-6496-4268-afd4-67c22837e38d";
    let now = at("2017-10-10T12:02:54Z");

    let query = canonical_query(&rpc::parameters(&request, &identity, now, nonce));
    assert_eq!(
        query,
        "AccessKeyId=testAccessKeyId&Action=GetVideoPlayAuth&Format=JSON\
         &SignatureMethod=HMAC-SHA1&SignatureNonce=8f8a035d-6496-4268-afd4-67c22837e38d\
         &SignatureVersion=1.0&Timestamp=2017-10-10T12%3A02%3A54Z&Version=2017-03-21\
         &VideoId=5aed81b74ba84920be578cdfe004af4b"
    );
    let to_sign = rpc::string_to_sign("GET", &query);
    assert_eq!(
        to_sign,
        "GET&%2F&AccessKeyId%3DtestAccessKeyId%26Action%3DGetVideoPlayAuth%26Format%3DJSON\
         %26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D8f8a035d-6496-4268-afd4-67c22837e38d\
         %26SignatureVersion%3D1.0%26Timestamp%3D2017-10-10T12%253A02%253A54Z\
         %26Version%3D2017-03-21%26VideoId%3D5aed81b74ba84920be578cdfe004af4b"
    );
    assert_eq!(rpc::signature("testAccessKeySecret", &to_sign), "Ibgh7y8Vp47LBuAsf5Xhi1SvDss=");

    let signed = sign(Signature::HmacSha1, &request, &identity, now, nonce);
    assert_eq!(signed.query, format!("{query}&Signature=Ibgh7y8Vp47LBuAsf5Xhi1SvDss%3D"));
}

#[test]
fn rpc_v3_describe_dedicated_hosts() {
    let signature = rpc_signature(
        "testsecret",
        "GET",
        [
            ("AccessKeyId", "testid"),
            ("Action", "DescribeDedicatedHosts"),
            ("Format", "JSON"),
            ("RegionId", "cn-beijing"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", "edb2b34af0af9a6d14deaf7c1a5315eb"),
            ("SignatureVersion", "1.0"),
            ("Timestamp", "2023-03-13T08:34:30Z"),
            ("Version", "2014-05-26"),
        ],
    );
    assert_eq!(signature, "9NaGiOspFP5UPcwX8Iwt2YJXXuk=");
}

#[test]
fn rpc_v4_chinese_text_and_json() {
    let signature = rpc_signature(
        "testSecret",
        "GET",
        [
            ("AccessKeyId", "testId"),
            ("Action", "SendSms"),
            ("Format", "XML"),
            ("OutId", "123"),
            ("PhoneNumbers", "15300000001"),
            ("RegionId", "cn-hangzhou"),
            ("SignName", "阿里云短信测试专用"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", "45e25e9b-0a6f-4070-8c85-2956eda1b466"),
            ("SignatureVersion", "1.0"),
            ("TemplateCode", "SMS_71390007"),
            ("TemplateParam", r#"{"customer":"test"}"#),
            ("Timestamp", "2017-07-12T02:42:19Z"),
            ("Version", "2017-05-25"),
        ],
    );
    assert_eq!(signature, "zJDF+Lrzhj/ThnlvIToysFRq6t4=");
}

const U1: [(&str, &str); 2] = [
    ("VideoId", "2deda93265312baf9b0ed810d0000001"),
    (
        "CoverURL",
        "http://vod.example.com/2327a6ec24b44844b3a5e2c1b6910000/covers/990f3820db2948b5b4a13d65d9a40000-00002.jpg",
    ),
];
const U2: [(&str, &str); 1] = [(
    "UpdateContent",
    r#"[{"VideoId":"f45cf4eba5cb90233389558c39000001","CoverURL":"https://img.example.com/a b/封面*~.jpg?x=1&y=2"}]"#,
)];
const TOKEN: &str = "CAIS/token+with/slash==";

/// Signs one of our own calls as the client does, and returns the signature alone.
fn ours<const N: usize>(
    with: Signature,
    method: &str,
    action: &str,
    own: [(&'static str, &str); N],
    security_token: Option<&str>,
) -> String {
    let nonce = match with {
        Signature::HmacSha1 => "9166ab59-f445-4005-911d-664c1570df0f",
        Signature::Acs3HmacSha256 => "9166ab59f4454005911d664c1570df0f",
    };
    let identity =
        Identity { access_key_id: "testid", access_key_secret: "testsecret", security_token };
    let request = Request {
        method,
        host: "vod.cn-shanghai.aliyuncs.com",
        version: "2017-03-21",
        action,
        parameters: &parameters(own),
    };
    let signed = sign(with, &request, &identity, at("2024-05-01T08:00:00Z"), nonce);
    match with {
        Signature::HmacSha1 => {
            let query = ::url::form_urlencoded::parse(signed.query.as_bytes());
            query.into_iter().find(|(name, _)| name == "Signature").expect("signed").1.into_owned()
        }
        Signature::Acs3HmacSha256 => {
            let header = signed.headers.iter().find(|(name, _)| name == "authorization");
            header.and_then(|(_, value)| value.split("Signature=").nth(1)).expect("signed").into()
        }
    }
}

#[test]
fn rpc_u1_update_video_info_agrees_with_the_sdk() {
    let sign = |method, token| ours(Signature::HmacSha1, method, "UpdateVideoInfo", U1, token);
    assert_eq!(sign("GET", None), "Hr2rOC8LuaQ/+5/ics5dDXtGApM=");
    assert_eq!(sign("POST", None), "e4yiMc/UcHtH59qbiyIXhCDOGfg=");
    assert_eq!(sign("GET", Some(TOKEN)), "hcdoA7VnODMWqjkHVYS+brwNQHw=");
    assert_eq!(sign("POST", Some(TOKEN)), "huaHPQtM/cdQI19RFLEypeiuBpA=");
}

#[test]
fn rpc_u2_update_video_infos_agrees_with_the_sdk() {
    let sign = |method| ours(Signature::HmacSha1, method, "UpdateVideoInfos", U2, None);
    assert_eq!(sign("GET"), "hTntWEKwPMCCEVU1s1N3tVRLxfo=");
    assert_eq!(sign("POST"), "PVLCNDn2yg9V0Z1O5molKqa+PnA=");
}

/// The published example: RunInstances with an empty body. Returns the string to sign and signature.
fn published_acs3(date: &str, nonce: &str) -> (String, String) {
    let own = parameters([
        ("ImageId", "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd"),
        ("RegionId", "cn-shanghai"),
    ]);
    let request = Request {
        method: "POST",
        host: "ecs.cn-shanghai.aliyuncs.com",
        version: "2014-05-26",
        action: "RunInstances",
        parameters: &own,
    };
    let identity = Identity {
        access_key_id: "YourAccessKeyId",
        access_key_secret: "YourAccessKeySecret",
        security_token: None,
    };
    let content = acs3::content_sha256(b"");
    assert_eq!(content, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    let headers = acs3::headers(&request, &identity, at(date), nonce, &content);
    let canonical =
        acs3::canonical_request("POST", "/", &canonical_query(&own), &headers, &content);
    assert_eq!(
        canonical.signed_headers,
        "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version"
    );
    let to_sign = acs3::string_to_sign(&canonical.text);
    let signature = acs3::signature("YourAccessKeySecret", &to_sign);
    (to_sign, signature)
}

#[test]
fn acs3_the_published_example_in_every_stage() {
    let (to_sign, signature) =
        published_acs3("2023-10-26T10:22:32Z", "3156853299f313e23d1673dc12e1703d");
    assert_eq!(
        to_sign,
        "ACS3-HMAC-SHA256\n7ea06492da5221eba5297e897ce16e55f964061054b7695beedaac1145b1e259"
    );
    assert_eq!(signature, "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0");
    assert_eq!(
        acs3::authorization("YourAccessKeyId", "host;x-acs-action", &signature),
        "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action,Signature=\
         06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
    );
}

// The page's header table shows the signature above next to these inputs, which really give another.
#[test]
fn acs3_the_inputs_of_the_older_pages_give_the_older_signature() {
    let (_, signature) = published_acs3("2023-10-26T09:01:01Z", "d410180a5abf7fe235dd9b74aca91fc0");
    assert_eq!(signature, "e521358f7776c97df52e6b2891a8bc73026794a071b50c3323388c4e0df64804");
}

#[test]
fn acs3_our_calls_agree_with_the_sdk() {
    let scheme = Signature::Acs3HmacSha256;
    assert_eq!(
        ours(scheme, "POST", "UpdateVideoInfo", U1, None),
        "1b1384ed82b8ba34a66e1b70d83187143920e0190c7a6d7b995fd00fa3740d4e"
    );
    assert_eq!(
        ours(scheme, "POST", "UpdateVideoInfo", U1, Some(TOKEN)),
        "fdf3d930e0dd80959ee0b8d42bc8c51abbf115a4c7c2ae47b0bdc07ad3f887bc"
    );
    assert_eq!(
        ours(scheme, "POST", "UpdateVideoInfos", U2, None),
        "1cb3856a7582ffb07ba40e8e6b9d7098a0a8e8447a976b645ec30ddee3423212"
    );
}

#[test]
fn acs3_a_form_body_agrees_with_the_sdk() {
    let own = parameters([]);
    let request = Request {
        method: "POST",
        host: "vod.cn-shanghai.aliyuncs.com",
        version: "2017-03-21",
        action: "UpdateVideoInfos",
        parameters: &own,
    };
    let identity =
        Identity { access_key_id: "testid", access_key_secret: "testsecret", security_token: None };
    let body = canonical_query(&parameters(U2));
    let content = acs3::content_sha256(body.as_bytes());
    let nonce = "9166ab59f4454005911d664c1570df0f";
    let mut headers =
        acs3::headers(&request, &identity, at("2024-05-01T08:00:00Z"), nonce, &content);
    headers.insert("content-type".into(), "application/x-www-form-urlencoded".into());
    let canonical = acs3::canonical_request("POST", "/", "", &headers, &content);
    assert_eq!(
        acs3::signature("testsecret", &acs3::string_to_sign(&canonical.text)),
        "cc9bff8a5674035ea75909fa9b57f23784a790400adc2afad5bbd49b425616a2"
    );
}

#[test]
fn callback_signatures_are_those_of_the_documentation() {
    let sign = |key| {
        callback::callback_signature("https://www.example.com/your/callback", "1519375990", key)
    };
    assert_eq!(sign("test123"), "c72b60894140fa98920f1279219b7ed4");
    // Newer pages print the digest above next to this key.
    assert_eq!(sign("Test123"), "c587b80d2d0ede300e8967937da7219b");
}

#[test]
fn a_callback_is_verified_by_its_exact_signature() {
    let verify = |presented| {
        let url = "https://www.example.com/your/callback";
        callback::verify_callback(url, "1519375990", "test123", presented)
    };
    assert!(verify("c72b60894140fa98920f1279219b7ed4"));
    for wrong in ["", "c72b60894140fa98920f1279219b7ed5", "C72B60894140FA98920F1279219B7ED4", "c7"]
    {
        assert!(!verify(wrong), "{wrong}");
    }
}
