//! Checks who is calling, as Alibaba's gateway does: the HMAC-SHA1 signature of the RPC style, the
//! newer ACS3-HMAC-SHA256, the clock, and that no nonce is used twice. Written from the documentation
//! and its published examples; it must never use the client's own signing code.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/signature-method>,
//! <https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature>

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use url::form_urlencoded;

use super::reply::ApiError;

/// How far a client's clock may be off.
const CLOCK_WINDOW: SignedDuration = SignedDuration::from_mins(15);

const ACS3: &str = "ACS3-HMAC-SHA256";

/// The access key that the account accepts.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub id: String,
    pub secret: String,
    /// Makes it an STS key: calls must carry this token. Without one any token passes, as long as it
    /// is signed.
    pub token: Option<String>,
}

/// Parameters of a call, from the query and a form body together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Params(pub Vec<(String, String)>);

impl Params {
    pub fn read(query: &str, form: Option<&[u8]>) -> Self {
        let query = form_urlencoded::parse(query.as_bytes());
        let all = query.chain(form_urlencoded::parse(form.unwrap_or_default()));
        Self(all.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that must be there and not empty.
    pub fn need(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| ApiError::missing(name))
    }
}

/// What of a request is signed.
pub(super) struct Signed<'a> {
    pub method: &'a str,
    /// The query as it was sent.
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    pub params: &'a Params,
}

impl<'a> Signed<'a> {
    /// Whether it is signed with ACS3-HMAC-SHA256, which names action and version in headers.
    pub fn is_acs3(&self) -> bool {
        self.header("authorization").is_some_and(|value| value.starts_with(ACS3))
    }

    pub fn action(&self) -> Result<&'a str, ApiError> {
        self.named("x-acs-action", "Action")
    }

    pub fn version(&self) -> Result<&'a str, ApiError> {
        self.named("x-acs-version", "Version")
    }

    /// Checks everything but the nonce, which it returns.
    pub fn verify(&self, key: &Key, now: Timestamp) -> Result<&'a str, ApiError> {
        let given = if self.is_acs3() { self.acs3()? } else { self.rpc()? };
        if given.key != key.id {
            let message = "Specified access key is not found.";
            return Err(ApiError::new(404, "InvalidAccessKeyId.NotFound", message));
        }
        check_time(given.time, now)?;
        if given.signature != given.expected(&key.secret) {
            let message = format!(
                "Specified signature is not matched with our calculation. server string to sign is:{}",
                given.string_to_sign
            );
            return Err(ApiError::new(400, "SignatureDoesNotMatch", message));
        }
        match (&key.token, given.token) {
            (Some(_), None) => Err(ApiError::missing("SecurityToken")),
            (Some(expected), Some(token)) if expected != token => {
                let message = "Specified SecurityToken is expired.";
                Err(ApiError::new(400, "InvalidSecurityToken.Expired", message))
            }
            _ => Ok(given.nonce),
        }
    }

    fn rpc(&self) -> Result<Claim<'a>, ApiError> {
        let params = self.params;
        let key = params.need("AccessKeyId")?;
        let signature = params.need("Signature")?.to_owned();
        if params.need("SignatureMethod")? != "HMAC-SHA1" {
            let message = "The specified parameter SignatureMethod is not supported.";
            return Err(ApiError::new(400, "InvalidSignatureMethod", message));
        }
        if params.need("SignatureVersion")? != "1.0" {
            let message = "The specified parameter SignatureVersion is not supported.";
            return Err(ApiError::new(400, "IncompleteSignature", message));
        }
        let (time, nonce) = (params.need("Timestamp")?, params.need("SignatureNonce")?);
        let pairs = params.0.iter().filter(|(name, _)| name != "Signature");
        let canonical = canonical_query(pairs.map(|(name, value)| (name.as_str(), value.as_str())));
        let string_to_sign = format!("{}&%2F&{}", self.method, encode(&canonical));
        let token = params.get("SecurityToken").filter(|token| !token.is_empty());
        Ok(Claim { style: Style::Rpc, key, time, nonce, token, signature, string_to_sign })
    }

    fn acs3(&self) -> Result<Claim<'a>, ApiError> {
        let incomplete = |why: &str| ApiError::new(400, "IncompleteSignature", why);
        let need = |name: &str| {
            self.header(name).ok_or_else(|| incomplete(&format!("The header {name} is missing.")))
        };
        let authorization = need("authorization")?.trim_start_matches(ACS3);
        let part = |name: &str| {
            let mut parts = authorization.split(',').filter_map(|part| part.trim().split_once('='));
            let found = parts.find(|(known, _)| *known == name).map(|(_, value)| value);
            found.ok_or_else(|| incomplete(&format!("Authorization lacks {name}.")))
        };
        let (credential, names, signature) =
            (part("Credential")?, part("SignedHeaders")?, part("Signature")?);

        let signed: Vec<_> = names.split(';').collect();
        let mandatory =
            |name: &str| name == "host" || name == "content-type" || name.starts_with("x-acs-");
        let mut sent = self.headers.keys().map(|name| name.as_str());
        if let Some(unsigned) = sent.find(|name| mandatory(name) && !signed.contains(name)) {
            return Err(incomplete(&format!("The header {unsigned} is not signed.")));
        }
        if !signed.is_sorted() || !signed.contains(&"host") {
            return Err(incomplete("SignedHeaders must be sorted and contain host."));
        }
        let (time, nonce) = (need("x-acs-date")?, need("x-acs-signature-nonce")?);
        let content_hash = hex(&Sha256::digest(self.body));
        if need("x-acs-content-sha256")? != content_hash {
            return Err(incomplete("x-acs-content-sha256 is not the hash of the body."));
        }
        let mut canonical = format!("{}\n/\n", self.method);
        let pairs: Vec<_> = form_urlencoded::parse(self.query.as_bytes()).collect();
        let pairs = pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
        canonical.push_str(&canonical_query(pairs));
        canonical.push('\n');
        for name in &signed {
            canonical.push_str(&format!("{name}:{}\n", need(name)?.trim()));
        }
        canonical.push_str(&format!("\n{names}\n{content_hash}"));
        let string_to_sign = format!("{ACS3}\n{}", hex(&Sha256::digest(&canonical)));
        Ok(Claim {
            style: Style::Acs3,
            key: credential,
            time,
            nonce,
            token: self.header("x-acs-security-token"),
            signature: signature.to_owned(),
            string_to_sign,
        })
    }

    fn named(&self, header: &str, name: &str) -> Result<&'a str, ApiError> {
        if self.is_acs3() {
            self.header(header).ok_or_else(|| ApiError::missing(name))
        } else {
            self.params.need(name)
        }
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

#[derive(Clone, Copy)]
enum Style {
    Rpc,
    Acs3,
}

/// What a request says of itself, and what should have been signed.
struct Claim<'a> {
    style: Style,
    key: &'a str,
    time: &'a str,
    nonce: &'a str,
    token: Option<&'a str>,
    signature: String,
    string_to_sign: String,
}

impl Claim<'_> {
    fn expected(&self, secret: &str) -> String {
        let text = self.string_to_sign.as_bytes();
        match self.style {
            Style::Rpc => STANDARD.encode(mac::<Hmac<Sha1>>(&format!("{secret}&"), text)),
            Style::Acs3 => hex(&mac::<Hmac<Sha256>>(secret, text)),
        }
    }
}

fn mac<M: Mac + KeyInit>(key: &str, text: &[u8]) -> Vec<u8> {
    let mac = <M as KeyInit>::new_from_slice(key.as_bytes()).map(|mac| mac.chain_update(text));
    mac.expect("HMAC takes keys of every length").finalize().into_bytes().to_vec()
}

/// Only `YYYY-MM-DDThh:mm:ssZ` is a time, and only one that is at most 15 minutes off.
fn check_time(text: &str, now: Timestamp) -> Result<(), ApiError> {
    let strict = text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    let time = text.parse::<Timestamp>().ok().filter(|_| strict).ok_or_else(|| {
        let message = "Specified time stamp or date value is not well formatted.";
        ApiError::new(400, "InvalidTimeStamp.Format", message)
    })?;
    if now.duration_since(time).abs() > CLOCK_WINDOW {
        let message = "Specified time stamp or date value is expired.";
        return Err(ApiError::new(400, "InvalidTimeStamp.Expired", message));
    }
    Ok(())
}

/// Sorted by name, then by value; joined by `=` and `&`.
fn canonical_query<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_unstable();
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        encode_into(&mut text, name);
        text.push('=');
        encode_into(&mut text, value);
    }
    text
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    encode_into(&mut encoded, text);
    encoded
}

/// RFC 3986: everything but letters, digits and `-_.~` as `%XY`.
fn encode_into(encoded: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let is_special = |c: char| !c.is_ascii_alphanumeric() && !"-_.~".contains(c);
    for piece in text.split_inclusive(is_special) {
        let (plain, special) = piece.split_at(piece.trim_end_matches(is_special).len());
        encoded.push_str(plain);
        for byte in special.bytes() {
            encoded.push('%');
            encoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
            encoded.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
