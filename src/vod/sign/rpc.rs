//! HMAC-SHA1 signing of RPC calls: the signature is one more query parameter.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha1::Sha1;

use super::{Identity, Request, Signed, canonical_query, percent_encode, time};

pub fn sign(request: &Request<'_>, identity: &Identity<'_>, now: Timestamp, nonce: &str) -> Signed {
    let parameters = parameters(request, identity, now, nonce);
    let query = canonical_query(&parameters);
    let signature = signature(identity.access_key_secret, &string_to_sign(request.method, &query));
    Signed { query: format!("{query}&Signature={}", percent_encode(&signature)), headers: vec![] }
}

/// Everything that is signed: the call's own parameters and the common ones. Without `Format=JSON` the
/// answer would be XML.
pub fn parameters<'a>(
    request: &Request<'a>,
    identity: &Identity<'a>,
    now: Timestamp,
    nonce: &str,
) -> BTreeMap<&'static str, String> {
    let mut all = request.parameters.clone();
    all.extend([
        ("AccessKeyId", identity.access_key_id.to_owned()),
        ("Action", request.action.to_owned()),
        ("Format", "JSON".to_owned()),
        ("SignatureMethod", "HMAC-SHA1".to_owned()),
        ("SignatureNonce", nonce.to_owned()),
        ("SignatureVersion", "1.0".to_owned()),
        ("Timestamp", time(now)),
        ("Version", request.version.to_owned()),
    ]);
    if let Some(token) = identity.security_token {
        all.insert("SecurityToken", token.to_owned());
    }
    all
}

/// The path is always `/`. The query is encoded a second time here.
pub fn string_to_sign(method: &str, canonical_query: &str) -> String {
    format!("{method}&%2F&{}", percent_encode(canonical_query))
}

/// Base64. The key is the secret with an `&` behind it.
pub fn signature(access_key_secret: &str, string_to_sign: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(format!("{access_key_secret}&").as_bytes())
        .expect("an HMAC key may have any length");
    mac.update(string_to_sign.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}
