//! Request signing as VOD and STS expect it, in stages that are tested against published vectors. Pure:
//! the time and the nonce are arguments, and secrets go in and never come out.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/sdk/product-overview/rpc-mechanism> (HMAC-SHA1)
//! and <https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature>.
//! Uploads go to OSS and messages come from SMQ, each with a scheme of its own: [`oss`], [`mns`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub mod acs3;
pub mod callback;
pub mod mns;
pub mod oss;
pub mod rpc;
pub mod url;

#[cfg(test)]
mod tests;

/// Which of the two schemes signs the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signature {
    /// The RPC scheme that VOD's own pages describe, `SignatureVersion=1.0`.
    #[serde(rename = "hmac-sha1")]
    HmacSha1,
    /// The newer scheme of the current SDKs, also called V3.
    #[serde(rename = "acs3-hmac-sha256")]
    Acs3HmacSha256,
}

/// Whose signature it is.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    pub access_key_id: &'a str,
    pub access_key_secret: &'a str,
    /// Of temporary (STS) keys; it is signed as well.
    pub security_token: Option<&'a str>,
}

/// A call before it is signed. All parameters travel in the query, as the SDKs send them; the body is
/// empty.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    /// As in the `Host` header, with the port if it is not the scheme's own.
    pub host: &'a str,
    /// The API's version, such as `2017-03-21`.
    pub version: &'a str,
    pub action: &'a str,
    pub parameters: &'a BTreeMap<&'static str, String>,
}

/// What signing adds up to: the encoded query string, and headers that must be sent as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub query: String,
    pub headers: Vec<(String, String)>,
}

/// Signs a call. The nonce must be new for every attempt, and the time must be within 15 minutes of the
/// server's.
pub fn sign(
    with: Signature,
    request: &Request<'_>,
    identity: &Identity<'_>,
    now: Timestamp,
    nonce: &str,
) -> Signed {
    match with {
        Signature::HmacSha1 => rpc::sign(request, identity, now, nonce),
        Signature::Acs3HmacSha256 => acs3::sign(request, identity, now, nonce),
    }
}

/// RFC 3986 as the API wants it: everything but letters, digits and `-_.~` becomes `%XX` of its UTF-8
/// bytes, so a space is `%20` and never `+`.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3 / 2);
    push_encoded(&mut encoded, text);
    encoded
}

fn push_encoded(encoded: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let stands = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| !stands(byte)) {
        encoded.push_str(&rest[..at]);
        let odd = rest[at..].chars().next().map_or(1, char::len_utf8);
        for byte in rest[at..at + odd].bytes() {
            encoded.push('%');
            encoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
            encoded.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        rest = &rest[at + odd..];
    }
    encoded.push_str(rest);
}

/// `k=v` joined by `&`, both sides encoded, sorted by the bytes of the name.
pub fn canonical_query<K, V>(parameters: &BTreeMap<K, V>) -> String
where
    K: AsRef<str> + Ord,
    V: AsRef<str>,
{
    let mut query = String::new();
    for (name, value) in parameters {
        if !query.is_empty() {
            query.push('&');
        }
        push_encoded(&mut query, name.as_ref());
        query.push('=');
        push_encoded(&mut query, value.as_ref());
    }
    query
}

/// `2024-05-01T08:00:00Z`: UTC, whole seconds.
pub(crate) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
