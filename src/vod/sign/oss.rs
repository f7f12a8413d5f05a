//! OSS4-HMAC-SHA256 (V4) signing of an upload to OSS. The host is no part of it; bucket and key are,
//! and the body is not.
//!
//! Written here rather than taken from a crate: the one maintained candidate brings 25 crates and sends
//! an empty `AdditionalHeaders=` whose acceptance nobody has documented, and published vectors cover all
//! that is needed, which is one kind of request.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/oss/developer-reference/recommend-to-use-signature-version-4>

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Identity, hex, percent_encode};

const ALGORITHM: &str = "OSS4-HMAC-SHA256";
/// The body may be anything: Content-MD5 is signed and guards it.
const PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// A PutObject before it is signed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Without `oss-`, such as `cn-shanghai`.
    pub region: &'a str,
    pub bucket: &'a str,
    /// Not encoded.
    pub key: &'a str,
    pub content_type: &'a str,
    /// Base64 (RFC 1864).
    pub content_md5: Option<&'a str>,
}

/// Every header that must be sent as it is. The time must be within 15 minutes of the server's.
pub fn sign(
    request: &Request<'_>,
    identity: &Identity<'_>,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let mut headers = headers(request, identity, now);
    let canonical = canonical_request(request, &headers);
    let scope = scope(request.region, now);
    let signature = signature(
        &signing_key(identity.access_key_secret, request.region, now),
        &string_to_sign(&canonical, &scope, now),
    );
    let id = identity.access_key_id;
    let authorization = format!("{ALGORITHM} Credential={id}/{scope},Signature={signature}");
    headers.insert("authorization", authorization);
    headers.into_iter().collect()
}

/// The headers that are signed, by lower-case name.
pub fn headers(
    request: &Request<'_>,
    identity: &Identity<'_>,
    now: Timestamp,
) -> BTreeMap<&'static str, String> {
    let mut headers = BTreeMap::from([
        ("content-type", request.content_type.to_owned()),
        ("x-oss-content-sha256", PAYLOAD.to_owned()),
        ("x-oss-date", now.strftime("%Y%m%dT%H%M%SZ").to_string()),
    ]);
    headers.extend(request.content_md5.map(|digest| ("content-md5", digest.to_owned())));
    let token = identity.security_token;
    headers.extend(token.map(|token| ("x-oss-security-token", token.to_owned())));
    headers
}

/// The key as it stands in a URL: every byte but letters, digits, `-_.~` and `/` encoded.
pub fn encoded_key(key: &str) -> String {
    key.split('/').map(percent_encode).collect::<Vec<_>>().join("/")
}

pub fn canonical_request(
    request: &Request<'_>,
    headers: &BTreeMap<&'static str, String>,
) -> String {
    let lines: String =
        headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    // The empty lines: no query, and no headers signed beyond those that always are.
    let path = format!("/{}/{}", request.bucket, encoded_key(request.key));
    format!("PUT\n{path}\n\n{lines}\n\n{PAYLOAD}")
}

pub fn string_to_sign(canonical_request: &str, scope: &str, now: Timestamp) -> String {
    let time = now.strftime("%Y%m%dT%H%M%SZ");
    format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical_request)))
}

/// What the signature is good for: one day, one region.
pub fn scope(region: &str, now: Timestamp) -> String {
    format!("{}/{region}/oss/aliyun_v4_request", now.strftime("%Y%m%d"))
}

pub fn signing_key(access_key_secret: &str, region: &str, now: Timestamp) -> Vec<u8> {
    let day = now.strftime("%Y%m%d").to_string();
    let secret = format!("aliyun_v4{access_key_secret}").into_bytes();
    [day.as_str(), region, "oss", "aliyun_v4_request"]
        .iter()
        .fold(secret, |key, text| mac(&key, text))
}

/// Lower-case hexadecimal.
pub fn signature(signing_key: &[u8], string_to_sign: &str) -> String {
    hex(&mac(signing_key, string_to_sign))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("an HMAC key may have any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    //! Vectors that two of Alibaba's own SDKs computed, and the text of every stage of the first.

    use super::*;

    const BUCKET: &str = "outin-0123456789abcdef00163e1c7426";
    const KEY: &str = "image/cover/7AB5E62D3C0C4D0B8F4C4A7D0E4F9D6A-6-2.jpg";
    const STS: Identity<'_> = Identity {
        access_key_id: "STS.NTtestAccessKeyId",
        access_key_secret: "testAccessKeySecret",
        security_token: Some("CAIS/token+with/slash=="),
    };

    fn request() -> Request<'static> {
        let content_type = "image/jpeg";
        Request { region: "cn-shanghai", bucket: BUCKET, key: KEY, content_type, content_md5: None }
    }

    fn now() -> Timestamp {
        "2024-05-01T08:00:00Z".parse().unwrap()
    }

    fn signature_of(request: &Request<'_>, identity: &Identity<'_>) -> String {
        let headers = sign(request, identity, now());
        let (_, value) = headers.iter().find(|(name, _)| *name == "authorization").unwrap();
        value.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    #[test]
    fn an_upload_with_a_token_in_every_stage() {
        let headers = headers(&request(), &STS, now());
        let canonical = canonical_request(&request(), &headers);
        assert_eq!(
            canonical,
            "PUT\n/outin-0123456789abcdef00163e1c7426/image/cover/\
             7AB5E62D3C0C4D0B8F4C4A7D0E4F9D6A-6-2.jpg\n\ncontent-type:image/jpeg\n\
             x-oss-content-sha256:UNSIGNED-PAYLOAD\nx-oss-date:20240501T080000Z\n\
             x-oss-security-token:CAIS/token+with/slash==\n\n\nUNSIGNED-PAYLOAD"
        );
        let scope = scope("cn-shanghai", now());
        assert_eq!(
            string_to_sign(&canonical, &scope, now()),
            "OSS4-HMAC-SHA256\n20240501T080000Z\n20240501/cn-shanghai/oss/aliyun_v4_request\n\
             3346bcbbaa200243f9ec233edeb03145115a7dcc01504375bb2a13e7b01d15c2"
        );
        let sent = sign(&request(), &STS, now());
        let authorization = "OSS4-HMAC-SHA256 Credential=STS.NTtestAccessKeyId/20240501/\
             cn-shanghai/oss/aliyun_v4_request,Signature=\
             d667409e09176a494faab0a943ce589cc23a8be33d66e7b938f8480edba879ec";
        assert!(sent.contains(&("authorization", authorization.to_owned())), "{sent:?}");
        assert_eq!(sent.len(), headers.len() + 1);
    }

    #[test]
    fn content_md5_is_signed() {
        let md5 = Request { content_md5: Some("JI6/NJ0Aocvx+MCLMgu6wg=="), ..request() };
        assert_eq!(
            signature_of(&md5, &STS),
            "27ca800dd43eca35a77655bcd52f5b94e0f1f7007202b0eed3b4fcb2c88e1da0"
        );
    }

    #[test]
    fn a_key_is_encoded_but_for_its_slashes() {
        let key = "image/cover/封面 a+b.jpg";
        assert_eq!(encoded_key(key), "image/cover/%E5%B0%81%E9%9D%A2%20a%2Bb.jpg");
        assert_eq!(
            signature_of(&Request { key, ..request() }, &STS),
            "fd5c22f269a24088dabbcb19553a04f341136b2ebbbaef3aa884a326892e7d08"
        );
    }

    #[test]
    fn a_permanent_key_signs_no_token() {
        let permanent =
            Identity { access_key_id: "LTAItestAccessKeyId", security_token: None, ..STS };
        assert_eq!(
            signature_of(&request(), &permanent),
            "6ff4c837fb5ee46217ac673caea67c1ebbfefd81ddcfe3e3e30c127af51a89b2"
        );
    }
}
