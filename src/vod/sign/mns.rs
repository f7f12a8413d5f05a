//! Signing of requests to SMQ (formerly MNS), version 2: HMAC-SHA1 over the head of a request. The body is no
//! part of it, and neither is an STS token.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/mns/sign-requests>

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha1::Sha1;

use super::Identity;

/// The version of the service's API, which is signed.
const VERSION: &str = "2015-06-06";

/// A request before it is signed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    pub content_type: Option<&'a str>,
    /// Path and query, byte for byte as they are sent.
    pub resource: &'a str,
}

/// Every header that must be sent as it is, Content-Type among them. The time must be within 15 minutes of
/// the server's.
pub fn sign(
    request: &Request<'_>,
    identity: &Identity<'_>,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let date = date(now);
    let named = BTreeMap::from([("x-mns-version", VERSION)]);
    let text = string_to_sign(request, "", &date, &named);
    let signature = signature(identity.access_key_secret, &text);
    let authorization = format!("MNS {}:{signature}", identity.access_key_id);
    let mut headers = vec![
        ("date", date),
        ("x-mns-version", VERSION.to_owned()),
        ("authorization", authorization),
    ];
    headers.extend(request.content_type.map(|kind| ("content-type", kind.to_owned())));
    let token = identity.security_token;
    headers.extend(token.map(|token| ("security-token", token.to_owned())));
    headers
}

/// `named` are the headers whose names begin with `x-mns-`, in lower case.
pub fn string_to_sign(
    request: &Request<'_>,
    content_md5: &str,
    date: &str,
    named: &BTreeMap<&str, &str>,
) -> String {
    let lines: String = named.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let Request { method, content_type, resource } = request;
    let content_type = content_type.unwrap_or_default();
    format!("{method}\n{content_md5}\n{content_type}\n{date}\n{lines}{resource}")
}

/// Base64.
pub fn signature(access_key_secret: &str, string_to_sign: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(access_key_secret.as_bytes())
        .expect("an HMAC key may have any length");
    mac.update(string_to_sign.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// `Wed, 01 May 2024 08:00:00 GMT`, as in HTTP's Date header.
fn date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    //! Vectors that two of Alibaba's own SDKs computed, those of a third one's unit tests, and the one of
    //! the documentation.

    use super::*;

    const QUEUE: &str = "/queues/vod-callback/messages";
    const XML: Option<&str> = Some("text/xml;charset=UTF-8");
    const DATE: &str = "Wed, 01 May 2024 08:00:00 GMT";
    const SECRET: &str = "testAccessKeySecret";

    #[test]
    fn the_signatures_of_the_sdks_are_reproduced() {
        let version = ("x-mns-version", VERSION);
        let id = ("x-mns-user-request-id", "req-1");
        let deleting = "NDRjYmU3NWViZWYyMjRhMjg3MTZjM2VlNzY2ZGYyYWU=";
        let sending = "MGIyNzc5ZWJmNTFiMDYxYzkwMDQyZjlhZWI2N2NiODM=";
        let handle = "?ReceiptHandle=1-ODU4OTkzNDU5My0xNDMyNzI3ODI3LTItOA";
        for (method, resource, content_type, md5, more, expected) in [
            (
                "GET",
                format!("{QUEUE}?waitseconds=30"),
                None,
                "",
                None,
                "y2cJHVldQldoj9WnreO1bslC1EA=",
            ),
            (
                "GET",
                format!("{QUEUE}?numOfMessages=16&waitseconds=30"),
                None,
                "",
                None,
                "owNs8mghvekjPCWAWwhS02jX8TY=",
            ),
            (
                "GET",
                format!("{QUEUE}?numOfMessages=16&waitseconds=30"),
                XML,
                "",
                None,
                "dSMCiDkvdxTHJue5ouKb3aRIMX8=",
            ),
            (
                "GET",
                format!("{QUEUE}?peekonly=true&numOfMessages=16"),
                None,
                "",
                None,
                "WYx/TO79I6Rj2SjmlosHRJk8fZA=",
            ),
            (
                "DELETE",
                format!("{QUEUE}{handle}=="),
                None,
                "",
                None,
                "cQ6dLw7ShuYImIFd6415pd4hpC4=",
            ),
            (
                "DELETE",
                format!("{QUEUE}{handle}%3D%3D"),
                None,
                "",
                None,
                "Z1O1GEBhL1bad0fG3ZD15vG4pUE=",
            ),
            (
                "DELETE",
                format!("{QUEUE}?ReceiptHandle=MbZj6wDWli%2BQEauMZc8ZRv37sIW2iJKq3M9Mx%2FKSbkJ0"),
                None,
                "",
                None,
                "Ba1PW3K1dLIRZ6NrV6rVfyY2Fa8=",
            ),
            (
                "PUT",
                format!("{QUEUE}{handle}%3D%3D&VisibilityTimeout=60"),
                None,
                "",
                None,
                "tV6cvmi/GtbT+q+NAcWHlGh3dPo=",
            ),
            ("DELETE", QUEUE.into(), XML, "", None, "bFQZ9LFjFtWKtPtEkKSNiPV81pQ="),
            ("DELETE", QUEUE.into(), XML, deleting, None, "iApUw+wTWJj+yzlvRIasnajhF8Q="),
            ("POST", QUEUE.into(), XML, "", None, "UOjKVbvTt5LNfuRk55dZrcmkv3k="),
            ("POST", QUEUE.into(), XML, sending, None, "pkcEdFDm/K8wnKcTQWmpcExI51I="),
            ("GET", "/queues/vod-callback".into(), None, "", None, "wT6rJNEWf+iuxw7jMOv2o69h+SQ="),
            (
                "GET",
                format!("{QUEUE}?waitseconds=30"),
                None,
                "",
                Some(id),
                "ha2OQjMEEL5IP8Lp22Is3vxq2Ww=",
            ),
        ] {
            let request = Request { method, content_type, resource: &resource };
            let named = [version].into_iter().chain(more).collect();
            let text = string_to_sign(&request, md5, DATE, &named);
            assert_eq!(signature(SECRET, &text), expected, "{text}");
        }
    }

    #[test]
    fn the_vectors_of_the_java_sdk_and_of_the_documentation_are_reproduced() {
        let named = |value| BTreeMap::from([("x-mns-abcdef", value)]);
        for (secret, method, resource, date, named, expected) in [
            (
                "sk1",
                "POST",
                "/queues/TestQueue",
                "Tue, 03 Jun 2025 11:23:48 GMT",
                named("abcDEF"),
                "cAThPWnbphg3hDe3ZHDADTgkgyE=",
            ),
            (
                "sk-kkkkkk1111111111",
                "GET",
                "/queues/TestQueue123456",
                "Wed, 03 Dec 2025 11:23:48 GMT",
                named("KKKkkk"),
                "lPxnfNA+Qo/aj18MYJUnRMqa84I=",
            ),
            (
                "testSk",
                "GET",
                "/queues/TestQueue",
                "Tue, 03 Jun 2025 11:23:48 GMT",
                BTreeMap::new(),
                "uDJQXbk2xOhH95MDXmgbAGdtyE4=",
            ),
            (
                "TestAccessSecret",
                "GET",
                "/MyQueue",
                "Thu, 09 Jul 2015 03:01:34 GMT",
                BTreeMap::from([("x-mns-version", VERSION)]),
                "uwx3yeWoILzgmvesW0BQSgfM7b8=",
            ),
        ] {
            let request = Request { method, content_type: None, resource };
            let text = string_to_sign(&request, "", date, &named);
            assert_eq!(signature(secret, &text), expected, "{text}");
        }
    }

    #[test]
    fn a_request_is_sent_with_what_was_signed_and_the_token_beside_it() {
        let resource = format!("{QUEUE}?numOfMessages=16&waitseconds=30");
        let request = Request { method: "GET", content_type: None, resource: &resource };
        let identity = Identity {
            access_key_id: "LTAItestAccessKeyId",
            access_key_secret: SECRET,
            security_token: Some("a token"),
        };
        let headers = sign(&request, &identity, "2024-05-01T08:00:00Z".parse().unwrap());
        let expected = [
            ("date", DATE),
            ("x-mns-version", "2015-06-06"),
            ("authorization", "MNS LTAItestAccessKeyId:owNs8mghvekjPCWAWwhS02jX8TY="),
            ("security-token", "a token"),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
