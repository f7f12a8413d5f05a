//! The signature of VOD's HTTP callbacks. It covers the configured URL and the time, not the body.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/user-guide/http-callbacks>

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use super::hex;

/// `X-VOD-SIGNATURE`: lower-case hexadecimal MD5. `url` is the callback URL exactly as it is configured
/// in VOD; `timestamp` is the text of `X-VOD-TIMESTAMP`.
pub fn callback_signature(url: &str, timestamp: &str, key: &str) -> String {
    hex(&Md5::digest(format!("{url}|{timestamp}|{key}")))
}

/// Whether the signature is right, in a time that does not tell how much of it is. How old a timestamp
/// may be is for the caller to decide.
pub fn verify_callback(url: &str, timestamp: &str, key: &str, presented: &str) -> bool {
    let expected = callback_signature(url, timestamp, key);
    expected.as_bytes().ct_eq(presented.as_bytes()).into()
}
