//! The account's storage bucket, as far as uploads need it: PutObject with a temporary key, V4 signature,
//! one object for each key. Written from OSS's documentation and checked against published vectors; it
//! must never use the client's own signing code.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/oss/developer-reference/recommend-to-use-signature-version-4>,
//! <https://www.alibabacloud.com/help/en/oss/developer-reference/putobject>

use std::collections::BTreeMap;

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, header, request};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use md5::Md5;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Simulator;
use super::account::{Call, Verdict};
use super::api::Operation;
use super::auth::hex;
use super::fault::Kind;
use super::http::{End, finish};
use super::listener::Peer;
use super::reply::{ApiError, response};
use super::upload::{Ticket, Uploads};

pub(super) const BUCKET: &str = "outin-simulated";
pub(super) const REGION: &str = "cn-shanghai";

/// Longest object, in bytes. OSS takes 5 GB.
const MOST: usize = 20 * 1024 * 1024;
const SKEW: SignedDuration = SignedDuration::from_mins(15);
const ALGORITHM: &str = "OSS4-HMAC-SHA256";

/// Whether a request is for the bucket and not for VOD or the picture domain.
pub(super) fn is_asked(request: &Request) -> bool {
    request.method() == Method::PUT || host(request.headers()).contains(".oss-")
}

pub(super) async fn put(simulator: Simulator, peer: Peer, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let name = Operation::PutObject.name();
    let checked = match to_bytes(body, MOST).await {
        Ok(body) => {
            let now = simulator.now();
            let account = simulator.account();
            check(&parts, &body, &account.uploads, now).map(|object| (object, body))
        }
        Err(_) => {
            let message = "Your proposed upload exceeds the maximum allowed size.";
            Err(ApiError::new(400, "EntityTooLarge", message))
        }
    };
    let end = match checked {
        Ok((object, body)) => {
            let hit = simulator.faults().strike(Operation::PutObject);
            let fault = hit.map(|hit| hit.kind);
            let apply = move |simulator: &Simulator| simulator.store(object, body, fault);
            simulator.carry_out(Operation::PutObject, hit, apply).await
        }
        Err(error) => {
            simulator.refuse(name.into(), &error, None);
            End::Answer(Err(error))
        }
    };
    finish(&peer, end, |answer| match answer {
        Ok(stored) => {
            let mut response = ().into_response();
            let etag = stored["ETag"].as_str().unwrap_or_default();
            if let Ok(etag) = HeaderValue::from_str(&format!("\"{etag}\"")) {
                response.headers_mut().insert(header::ETAG, etag);
            }
            response
        }
        Err(error) => response(name, Err(error), false),
    })
    .await
}

/// What OSS says where VOD would say something else.
pub(super) fn refusal(kind: Kind) -> Option<ApiError> {
    let (status, code) = match kind {
        Kind::TokenExpired => (403, "SecurityTokenExpired"),
        Kind::Throttle => (503, "QpsLimitExceeded"),
        Kind::Forbidden => (403, "AccessDenied"),
        Kind::Suspended => (403, "UserDisable"),
        Kind::NotFound => (404, "NoSuchBucket"),
        Kind::Unavailable => (503, "ServiceUnavailable"),
        _ => return None,
    };
    Some(ApiError::new(status, code, "The request was refused by a fault."))
}

/// An object that may be stored.
struct Object {
    key: String,
    content_type: String,
}

impl Simulator {
    fn store(&self, object: Object, body: Bytes, fault: Option<Kind>) -> Result<Value, ApiError> {
        let etag = hex(&Md5::digest(&body)).to_uppercase();
        let at = self.now();
        let mut account = self.account();
        account.uploads.store(&object.key, body, object.content_type);
        let operation = Operation::PutObject.name().into();
        let (videos, verdict) = (Vec::new(), Verdict::Ok);
        let call = |seq| Call { seq, arrived: at, at, operation, videos, verdict, fault };
        account.journal.push(call);
        Ok(json!({ "ETag": etag }))
    }
}

fn check(
    parts: &request::Parts,
    body: &Bytes,
    uploads: &Uploads,
    now: Timestamp,
) -> Result<Object, ApiError> {
    let host = host(&parts.headers);
    match host.split_once(".oss-") {
        None => {
            let message = "The bucket you are attempting to access must be addressed using OSS third \
                           level domain.";
            return Err(ApiError::new(403, "SecondLevelDomainForbidden", message));
        }
        Some((bucket, _)) if bucket != BUCKET => {
            let message = "The specified bucket does not exist.";
            return Err(ApiError::new(404, "NoSuchBucket", message));
        }
        Some(_) => {}
    }
    let signed = Signed::read(parts)?;
    let upload = uploads.of_key(signed.access_key_id).ok_or_else(no_such_key)?;
    check_key(&signed, &upload.ticket, now)?;
    if parts.method != Method::PUT || signed.path != format!("/{}", upload.key) {
        return Err(denied("You have no right to access this object."));
    }
    let digest = STANDARD.encode(Md5::digest(body));
    if signed.header("content-md5").is_some_and(|given| given != digest) {
        let message = "The Content-MD5 you specified was invalid.";
        return Err(ApiError::new(400, "InvalidDigest", message));
    }
    let content_type = signed.header("content-type").unwrap_or("application/octet-stream");
    Ok(Object { key: upload.key.clone(), content_type: content_type.to_owned() })
}

fn check_key(signed: &Signed<'_>, ticket: &Ticket, now: Timestamp) -> Result<(), ApiError> {
    // A temporary key without its token is no key that OSS knows.
    if signed.header("x-oss-security-token") != Some(&ticket.token) {
        return Err(no_such_key());
    }
    if now > ticket.expires {
        let message = "The security token you provided has expired.";
        return Err(ApiError::new(403, "SecurityTokenExpired", message));
    }
    if now.duration_since(signed.time).abs() > SKEW {
        let message = "The difference between the request time and the current time is too large.";
        return Err(ApiError::new(403, "RequestTimeTooSkewed", message));
    }
    if signed.signature != signed.expected(&ticket.secret) {
        let message =
            "The request signature we calculated does not match the signature you provided.";
        return Err(ApiError::new(403, "SignatureDoesNotMatch", message));
    }
    Ok(())
}

/// What a request says of itself.
struct Signed<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    /// As it was sent; an account's own names need no encoding.
    path: &'a str,
    query: &'a str,
    access_key_id: &'a str,
    /// `DAY/REGION/oss/aliyun_v4_request`.
    scope: &'a str,
    additional: &'a str,
    signature: &'a str,
    time: Timestamp,
}

impl<'a> Signed<'a> {
    fn read(parts: &'a request::Parts) -> Result<Self, ApiError> {
        let header = |name| text(&parts.headers, name);
        let invalid = |what: &str| ApiError::new(400, "InvalidArgument", what);
        let authorization = header("authorization")
            .ok_or_else(|| denied("Anonymous access is forbidden for this operation."))?;
        let members = authorization
            .strip_prefix(ALGORITHM)
            .ok_or_else(|| invalid("This bucket takes signature version 4 only."))?;
        let member = |name: &str| {
            let mut all = members.split(',').filter_map(|member| member.trim().split_once('='));
            all.find(|(known, _)| *known == name).map(|(_, value)| value)
        };
        let credential = member("Credential").ok_or_else(|| invalid("Credential is missing."))?;
        let (access_key_id, scope) =
            credential.split_once('/').ok_or_else(|| invalid("Credential has no scope."))?;
        let date = header("x-oss-date").ok_or_else(|| denied("x-oss-date is missing."))?;
        let time = Timestamp::strptime("%Y%m%dT%H%M%S%z", date.replace('Z', "+0000"))
            .map_err(|_| denied("x-oss-date is no time."))?;
        let day = date.get(..8).unwrap_or_default();
        if scope != format!("{day}/{REGION}/oss/aliyun_v4_request") {
            return Err(invalid("The scope of the credential is not of this day and region."));
        }
        if header("x-oss-content-sha256") != Some("UNSIGNED-PAYLOAD") {
            return Err(invalid("x-oss-content-sha256 must be UNSIGNED-PAYLOAD."));
        }
        Ok(Self {
            method: &parts.method,
            headers: &parts.headers,
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            access_key_id,
            scope,
            additional: member("AdditionalHeaders").unwrap_or_default(),
            signature: member("Signature").ok_or_else(|| invalid("Signature is missing."))?,
            time,
        })
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        text(self.headers, name)
    }

    fn expected(&self, secret: &str) -> String {
        let additional: Vec<_> = self.additional.split(';').collect();
        let is_signed = |name: &str| {
            matches!(name, "content-type" | "content-md5")
                || name.starts_with("x-oss-")
                || additional.contains(&name)
        };
        let names = self.headers.keys().map(|name| name.as_str()).filter(|name| is_signed(name));
        let lines: BTreeMap<_, _> =
            names.map(|name| (name, self.header(name).unwrap_or_default())).collect();
        let lines: String =
            lines.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let mut query: Vec<_> = self.query.split('&').filter(|pair| !pair.is_empty()).collect();
        query.sort_unstable();
        let canonical = format!(
            "{}\n/{BUCKET}{}\n{}\n{lines}\n{}\nUNSIGNED-PAYLOAD",
            self.method,
            self.path,
            query.join("&"),
            self.additional
        );
        let date = self.header("x-oss-date").unwrap_or_default();
        signature(secret, date, self.scope, &canonical)
    }
}

fn signature(secret: &str, date: &str, scope: &str, canonical: &str) -> String {
    let hash = hex(&Sha256::digest(canonical));
    let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{hash}");
    let first = format!("aliyun_v4{secret}").into_bytes();
    let key = scope.split('/').fold(first, |key, part| mac(&key, part));
    hex(&mac(&key, &to_sign))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key);
    let mac = mac.map(|mac| mac.chain_update(text)).expect("HMAC takes keys of every length");
    mac.finalize().into_bytes().to_vec()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn host(headers: &HeaderMap) -> &str {
    text(headers, "host").unwrap_or_default()
}

fn denied(message: &str) -> ApiError {
    ApiError::new(403, "AccessDenied", message)
}

fn no_such_key() -> ApiError {
    let message = "The OSS Access Key Id you provided does not exist in our records.";
    ApiError::new(403, "InvalidAccessKeyId", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The canonical text of an upload and its signature as OSS's own SDKs compute it.
    #[test]
    fn the_published_signature_is_reproduced() {
        let canonical = "PUT\n/outin-0123456789abcdef00163e1c7426/image/cover/\
            7AB5E62D3C0C4D0B8F4C4A7D0E4F9D6A-6-2.jpg\n\ncontent-type:image/jpeg\n\
            x-oss-content-sha256:UNSIGNED-PAYLOAD\nx-oss-date:20240501T080000Z\n\
            x-oss-security-token:CAIS/token+with/slash==\n\n\nUNSIGNED-PAYLOAD";
        let scope = "20240501/cn-shanghai/oss/aliyun_v4_request";
        assert_eq!(
            signature("testAccessKeySecret", "20240501T080000Z", scope, canonical),
            "d667409e09176a494faab0a943ce589cc23a8be33d66e7b938f8480edba879ec"
        );
    }
}
