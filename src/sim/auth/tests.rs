//! The published examples, each accepted as it stands and refused with one thing changed.

use axum::http::{HeaderName, HeaderValue};

use super::*;

/// Name, secret, parameters in the order of the documentation, signature.
const PUBLISHED: [(&str, &str, &str); 4] = [
    (
        "testsecret",
        "AccessKeyId=testid&Action=DescribeRegions&Format=XML&SignatureMethod=HMAC-SHA1\
         &SignatureNonce=3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf&SignatureVersion=1.0\
         &Timestamp=2016-02-23T12%3A46%3A24Z&Version=2014-05-26",
        "OLeaidS1JvxuMvnyHOwuJ+uX5qY=",
    ),
    (
        "testAccessKeySecret",
        "AccessKeyId=testAccessKeyId&Action=GetVideoPlayAuth&Format=JSON&SignatureMethod=HMAC-SHA1\
         &SignatureNonce=8f8a035d-6496-4268-afd4-67c22837e38d&SignatureVersion=1.0\
         &Timestamp=2017-10-10T12%3A02%3A54Z&Version=2017-03-21\
         &VideoId=5aed81b74ba84920be578cdfe004af4b",
        "Ibgh7y8Vp47LBuAsf5Xhi1SvDss=",
    ),
    (
        "testsecret",
        "AccessKeyId=testid&Action=DescribeDedicatedHosts&Format=JSON&RegionId=cn-beijing\
         &SignatureMethod=HMAC-SHA1&SignatureNonce=edb2b34af0af9a6d14deaf7c1a5315eb\
         &SignatureVersion=1.0&Timestamp=2023-03-13T08%3A34%3A30Z&Version=2014-05-26",
        "9NaGiOspFP5UPcwX8Iwt2YJXXuk=",
    ),
    (
        "testSecret",
        "AccessKeyId=testId&Action=SendSms&Format=XML&OutId=123&PhoneNumbers=15300000001\
         &RegionId=cn-hangzhou\
         &SignName=%E9%98%BF%E9%87%8C%E4%BA%91%E7%9F%AD%E4%BF%A1%E6%B5%8B%E8%AF%95%E4%B8%93%E7%94%A8\
         &SignatureMethod=HMAC-SHA1&SignatureNonce=45e25e9b-0a6f-4070-8c85-2956eda1b466\
         &SignatureVersion=1.0&TemplateCode=SMS_71390007\
         &TemplateParam=%7B%22customer%22%3A%22test%22%7D&Timestamp=2017-07-12T02%3A42%3A19Z\
         &Version=2017-05-25",
        "zJDF+Lrzhj/ThnlvIToysFRq6t4=",
    ),
];

const COMMON: &str = "Format=JSON&Version=2017-03-21&AccessKeyId=testid&SignatureMethod=HMAC-SHA1\
    &SignatureVersion=1.0&SignatureNonce=9166ab59-f445-4005-911d-664c1570df0f\
    &Timestamp=2024-05-01T08:00:00Z";
const U1: &str = "VideoId=2deda93265312baf9b0ed810d0000001&CoverURL=http://vod.example.com/\
    2327a6ec24b44844b3a5e2c1b6910000/covers/990f3820db2948b5b4a13d65d9a40000-00002.jpg";
const U2: &str = "UpdateContent=%5B%7B%22VideoId%22%3A%22f45cf4eba5cb90233389558c39000001%22%2C\
    %22CoverURL%22%3A%22https%3A%2F%2Fimg.example.com%2Fa%20b%2F%E5%B0%81%E9%9D%A2%2A~.jpg\
    %3Fx%3D1%26y%3D2%22%7D%5D";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn key(id: &str, secret: &str) -> Key {
    Key { id: id.into(), secret: secret.into(), token: None }
}

fn rpc(
    method: &str,
    query: &str,
    signature: &str,
    key: &Key,
    now: Timestamp,
) -> Result<(), ApiError> {
    let mut params = Params::read(query, None);
    params.0.push(("Signature".into(), signature.into()));
    let headers = HeaderMap::new();
    let signed = Signed { method, query, headers: &headers, body: b"", params: &params };
    signed.verify(key, now).map(drop)
}

fn code(result: Result<(), ApiError>) -> (u16, String) {
    let error = result.unwrap_err();
    (error.status, error.code.into_owned())
}

#[test]
fn the_published_rpc_signatures_are_accepted() {
    for (secret, query, signature) in PUBLISHED {
        let params = Params::read(query, None);
        let key = key(params.get("AccessKeyId").unwrap(), secret);
        let now = at(params.get("Timestamp").unwrap());
        assert_eq!(rpc("GET", query, signature, &key, now), Ok(()), "{query}");

        let wrong = Key { secret: format!("{secret}x"), ..key };
        let refused = code(rpc("GET", query, signature, &wrong, now));
        assert_eq!(refused, (400, "SignatureDoesNotMatch".into()));
    }
}

#[test]
fn the_string_to_sign_in_the_refusal_is_the_published_one() {
    let (_, query, signature) = PUBLISHED[1];
    let now = at("2017-10-10T12:02:54Z");
    let error = rpc("GET", query, signature, &key("testAccessKeyId", "other"), now).unwrap_err();
    let expected = "GET&%2F&AccessKeyId%3DtestAccessKeyId%26Action%3DGetVideoPlayAuth%26Format%3DJSON\
        %26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D8f8a035d-6496-4268-afd4-67c22837e38d\
        %26SignatureVersion%3D1.0%26Timestamp%3D2017-10-10T12%253A02%253A54Z%26Version%3D2017-03-21\
        %26VideoId%3D5aed81b74ba84920be578cdfe004af4b";
    assert!(error.message.ends_with(&format!("server string to sign is:{expected}")), "{error:?}");
}

#[test]
fn the_rpc_signatures_of_the_official_client_are_accepted() {
    let (key, now) = (key("testid", "testsecret"), at("2024-05-01T08:00:00Z"));
    let update = format!("{COMMON}&Action=UpdateVideoInfo&{U1}");
    let with_token = format!("{update}&SecurityToken=CAIS%2Ftoken%2Bwith%2Fslash%3D%3D");
    let updates = format!("{COMMON}&Action=UpdateVideoInfos&{U2}");
    for (query, get, post) in [
        (update, "Hr2rOC8LuaQ/+5/ics5dDXtGApM=", "e4yiMc/UcHtH59qbiyIXhCDOGfg="),
        (with_token, "hcdoA7VnODMWqjkHVYS+brwNQHw=", "huaHPQtM/cdQI19RFLEypeiuBpA="),
        (updates, "hTntWEKwPMCCEVU1s1N3tVRLxfo=", "PVLCNDn2yg9V0Z1O5molKqa+PnA="),
    ] {
        assert_eq!(rpc("GET", &query, get, &key, now), Ok(()), "{query}");
        assert_eq!(rpc("POST", &query, post, &key, now), Ok(()), "{query}");
        let swapped = code(rpc("GET", &query, post, &key, now));
        assert_eq!(swapped.1, "SignatureDoesNotMatch");
    }
}

#[test]
fn parameters_of_a_form_body_are_signed_like_those_of_the_query() {
    let (key, now) = (key("testid", "testsecret"), at("2024-05-01T08:00:00Z"));
    let query = format!("{COMMON}&Action=UpdateVideoInfos");
    let mut params = Params::read(&query, Some(U2.as_bytes()));
    params.0.push(("Signature".into(), "PVLCNDn2yg9V0Z1O5molKqa+PnA=".into()));
    let headers = HeaderMap::new();
    let signed = Signed {
        method: "POST",
        query: &query,
        headers: &headers,
        body: U2.as_bytes(),
        params: &params,
    };
    assert_eq!(signed.verify(&key, now), Ok("9166ab59-f445-4005-911d-664c1570df0f"));
}

#[test]
fn wrong_rpc_requests_are_refused_with_the_documented_codes() {
    let (good, now) = (key("testid", "testsecret"), at("2024-05-01T08:00:00Z"));
    let query = format!("{COMMON}&Action=UpdateVideoInfo&{U1}");
    let signature = "Hr2rOC8LuaQ/+5/ics5dDXtGApM=";
    let refused = |query: &str, key: &Key, now| code(rpc("GET", query, signature, key, now)).1;

    assert_eq!(
        code(rpc("GET", &query, signature, &key("other", "testsecret"), now)),
        (404, "InvalidAccessKeyId.NotFound".into())
    );
    for time in ["2024-05-01T08:15:01Z", "2024-05-01T07:44:59Z"] {
        assert_eq!(refused(&query, &good, at(time)), "InvalidTimeStamp.Expired");
    }
    for time in ["2024-05-01T08:15:00Z", "2024-05-01T07:45:00Z"] {
        assert_eq!(rpc("GET", &query, signature, &good, at(time)), Ok(()));
    }
    let odd_time = query.replace("08:00:00Z", "08:00:00.000Z");
    assert_eq!(refused(&odd_time, &good, now), "InvalidTimeStamp.Format");
    let other_method = query.replace("HMAC-SHA1", "MD5");
    assert_eq!(refused(&other_method, &good, now), "InvalidSignatureMethod");
    let other_video = query.replace("d0000001", "d0000002");
    assert_eq!(refused(&other_video, &good, now), "SignatureDoesNotMatch");
    for name in
        ["AccessKeyId", "SignatureMethod", "SignatureVersion", "SignatureNonce", "Timestamp"]
    {
        let without = query.replace(&format!("{name}="), "X=");
        assert_eq!(refused(&without, &good, now), format!("Missing{name}"));
    }
    assert_eq!(code(rpc("GET", &query, "", &good, now)).1, "MissingSignature");
    let sts = Key { token: Some("token".into()), ..good };
    assert_eq!(refused(&query, &sts, now), "MissingSecurityToken");
}

#[test]
fn an_sts_key_needs_its_own_token() {
    let now = at("2024-05-01T08:00:00Z");
    let token = "CAIS/token+with/slash==";
    let query =
        format!("{COMMON}&Action=UpdateVideoInfo&{U1}&SecurityToken={}", token.replace('+', "%2B"));
    let with = |token: &str| Key { token: Some(token.into()), ..key("testid", "testsecret") };
    let signature = "hcdoA7VnODMWqjkHVYS+brwNQHw=";
    assert_eq!(rpc("GET", &query, signature, &with(token), now), Ok(()));
    let refused = code(rpc("GET", &query, signature, &with("newer"), now));
    assert_eq!(refused, (400, "InvalidSecurityToken.Expired".into()));
}

/// An ACS3 request with its headers, in the manner of the published example.
struct Acs3 {
    query: String,
    body: &'static str,
    headers: HeaderMap,
}

impl Acs3 {
    fn new(query: &str, headers: &[(&str, &str)]) -> Self {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        Self { query: query.into(), body: "", headers: map }
    }

    fn vod(action: &str, query: &str, more: &[(&str, &str)]) -> Self {
        let mut headers = vec![
            ("host", "vod.cn-shanghai.aliyuncs.com"),
            ("x-acs-action", action),
            ("x-acs-version", "2017-03-21"),
            ("x-acs-date", "2024-05-01T08:00:00Z"),
            ("x-acs-signature-nonce", "9166ab59f4454005911d664c1570df0f"),
        ];
        headers.extend(more);
        Self::new(query, &headers)
    }

    fn verify(&self, id: &str, key: &Key, signature: &str) -> Result<(), ApiError> {
        let mut headers = self.headers.clone();
        let hash = hex(&Sha256::digest(self.body));
        headers.insert("x-acs-content-sha256", HeaderValue::from_str(&hash).unwrap());
        let mut names: Vec<_> = headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        self.verify_signing(headers.clone(), &names.join(";"), id, key, signature)
    }

    fn verify_signing(
        &self,
        mut headers: HeaderMap,
        names: &str,
        id: &str,
        key: &Key,
        signature: &str,
    ) -> Result<(), ApiError> {
        let authorization =
            format!("{ACS3} Credential={id},SignedHeaders={names},Signature={signature}");
        headers.insert("authorization", HeaderValue::from_str(&authorization).unwrap());
        let now = at(headers["x-acs-date"].to_str().unwrap());
        let params = Params::read(&self.query, None);
        let signed = Signed {
            method: "POST",
            query: &self.query,
            headers: &headers,
            body: self.body.as_bytes(),
            params: &params,
        };
        assert!(signed.is_acs3());
        signed.verify(key, now).map(drop)
    }
}

#[test]
fn the_published_acs3_signature_is_accepted() {
    let request = Acs3::new(
        "ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd&RegionId=cn-shanghai",
        &[
            ("host", "ecs.cn-shanghai.aliyuncs.com"),
            ("x-acs-action", "RunInstances"),
            ("x-acs-version", "2014-05-26"),
            ("x-acs-date", "2023-10-26T10:22:32Z"),
            ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
        ],
    );
    let signature = "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0";
    let (id, good) = ("YourAccessKeyId", key("YourAccessKeyId", "YourAccessKeySecret"));
    assert_eq!(request.verify(id, &good, signature), Ok(()));

    let error = request.verify(id, &key(id, "other"), signature).unwrap_err();
    assert_eq!(error.code, "SignatureDoesNotMatch");
    // The hash of the published canonical request.
    let hash = "7ea06492da5221eba5297e897ce16e55f964061054b7695beedaac1145b1e259";
    assert!(error.message.ends_with(hash), "{}", error.message);
    let other = request.verify("other", &good, signature).unwrap_err();
    assert_eq!(other.code, "InvalidAccessKeyId.NotFound");
}

#[test]
fn the_acs3_signatures_of_the_official_client_are_accepted() {
    let good = key("testid", "testsecret");
    let token =
        [("x-acs-security-token", "CAIS/token+with/slash=="), ("x-acs-accesskey-id", "testid")];
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let with_body = Acs3 { body: U2, ..Acs3::vod("UpdateVideoInfos", "", &form) };
    for (request, signature) in [
        (
            Acs3::vod("UpdateVideoInfo", U1, &[]),
            "1b1384ed82b8ba34a66e1b70d83187143920e0190c7a6d7b995fd00fa3740d4e",
        ),
        (
            Acs3::vod("UpdateVideoInfo", U1, &token),
            "fdf3d930e0dd80959ee0b8d42bc8c51abbf115a4c7c2ae47b0bdc07ad3f887bc",
        ),
        (
            Acs3::vod("UpdateVideoInfos", U2, &[]),
            "1cb3856a7582ffb07ba40e8e6b9d7098a0a8e8447a976b645ec30ddee3423212",
        ),
        (with_body, "cc9bff8a5674035ea75909fa9b57f23784a790400adc2afad5bbd49b425616a2"),
    ] {
        assert_eq!(request.verify("testid", &good, signature), Ok(()), "{signature}");
    }
}

#[test]
fn acs3_must_sign_the_host_and_every_acs_header_and_hash_the_body() {
    let good = key("testid", "testsecret");
    let request = Acs3::vod("UpdateVideoInfo", U1, &[]);
    let signature = "1b1384ed82b8ba34a66e1b70d83187143920e0190c7a6d7b995fd00fa3740d4e";
    let mut headers = request.headers.clone();
    let empty = hex(&Sha256::digest(""));
    headers.insert("x-acs-content-sha256", HeaderValue::from_str(&empty).unwrap());
    let all =
        "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version";
    let verify = |headers: &HeaderMap, names: &str| {
        request.verify_signing(headers.clone(), names, "testid", &good, signature)
    };
    assert_eq!(verify(&headers, all), Ok(()));
    for missing in all.split(';') {
        let names: Vec<_> = all.split(';').filter(|name| *name != missing).collect();
        let refused = code(verify(&headers, &names.join(";")));
        assert_eq!(refused, (400, "IncompleteSignature".into()), "{missing}");
    }
    let wrong_hash = HeaderValue::from_str(&hex(&Sha256::digest("other"))).unwrap();
    headers.insert("x-acs-content-sha256", wrong_hash);
    assert_eq!(code(verify(&headers, all)).1, "IncompleteSignature");
}
