//! ACS3-HMAC-SHA256 signing: everything common travels in headers, all of which are signed.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Identity, Request, Signed, canonical_query, hex, time};

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// What is hashed, and the names of the headers in it, which the `Authorization` header repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalRequest {
    pub text: String,
    pub signed_headers: String,
}

pub fn sign(request: &Request<'_>, identity: &Identity<'_>, now: Timestamp, nonce: &str) -> Signed {
    let query = canonical_query(request.parameters);
    let content = content_sha256(b"");
    let mut headers = headers(request, identity, now, nonce, &content);
    let canonical = canonical_request(request.method, "/", &query, &headers, &content);
    let signature = signature(identity.access_key_secret, &string_to_sign(&canonical.text));
    headers.insert(
        "authorization".to_owned(),
        authorization(identity.access_key_id, &canonical.signed_headers, &signature),
    );
    // Not part of the signature, so that a proxy may touch it.
    headers.insert("accept".to_owned(), "application/json".to_owned());
    Signed { query, headers: headers.into_iter().collect() }
}

/// The headers that are signed, by lower-case name.
pub fn headers(
    request: &Request<'_>,
    identity: &Identity<'_>,
    now: Timestamp,
    nonce: &str,
    content_sha256: &str,
) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::from([
        ("host", request.host.to_owned()),
        ("x-acs-action", request.action.to_owned()),
        ("x-acs-content-sha256", content_sha256.to_owned()),
        ("x-acs-date", time(now)),
        ("x-acs-signature-nonce", nonce.to_owned()),
        ("x-acs-version", request.version.to_owned()),
    ]);
    if let Some(token) = identity.security_token {
        headers.insert("x-acs-accesskey-id", identity.access_key_id.to_owned());
        headers.insert("x-acs-security-token", token.to_owned());
    }
    headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Lower-case hexadecimal SHA-256 of the body.
pub fn content_sha256(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// `headers` are those to sign, by lower-case name.
pub fn canonical_request(
    method: &str,
    path: &str,
    canonical_query: &str,
    headers: &BTreeMap<String, String>,
    content_sha256: &str,
) -> CanonicalRequest {
    let lines: String =
        headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let signed_headers = headers.keys().map(String::as_str).collect::<Vec<_>>().join(";");
    let text =
        format!("{method}\n{path}\n{canonical_query}\n{lines}\n{signed_headers}\n{content_sha256}");
    CanonicalRequest { text, signed_headers }
}

pub fn string_to_sign(canonical_request: &str) -> String {
    format!("{ALGORITHM}\n{}", hex(&Sha256::digest(canonical_request)))
}

/// Lower-case hexadecimal. Unlike in the older scheme the key is the bare secret.
pub fn signature(access_key_secret: &str, string_to_sign: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(access_key_secret.as_bytes())
        .expect("an HMAC key may have any length");
    mac.update(string_to_sign.as_bytes());
    hex(&mac.finalize().into_bytes())
}

pub fn authorization(access_key_id: &str, signed_headers: &str, signature: &str) -> String {
    format!(
        "{ALGORITHM} Credential={access_key_id},SignedHeaders={signed_headers},\
         Signature={signature}"
    )
}
