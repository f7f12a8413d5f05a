//! Who may look at the page, and who may change something. Changing needs the token, always; looking needs it
//! unless the ops port is on loopback. A browser that has given the token keeps a signed cookie, and every form
//! carries a word that only a page of ours knows. Tokens and signatures are compared in constant time.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;
use url::Host;

/// Shorter ones can be guessed.
const LEAST_TOKEN: usize = 16;
/// How long a browser need not give the token again, in seconds.
const SESSION: i64 = 12 * 3600;
/// What a wrong token costs whoever gives it, and everybody who comes after: one guess a second.
const WRONG_TAKES: Duration = Duration::from_secs(1);
const COOKIE: &str = "vod-cover";

pub struct Access {
    token: Option<SecretString>,
    /// Of this process: a restart ends every session.
    key: [u8; 32],
    on_loopback: bool,
    guess: Mutex<()>,
}

#[derive(Debug, thiserror::Error)]
pub enum BadToken {
    #[error("ops.token_file {0} cannot be read")]
    Unreadable(String, #[source] std::io::Error),
    #[error(
        "the token of {0} is shorter than {LEAST_TOKEN} characters; `openssl rand -hex 32` makes one"
    )]
    TooShort(&'static str),
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// May not even look.
    Nobody,
    Reader,
    /// May change things; `word` is what forms have to carry.
    Operator {
        word: String,
    },
}

impl Access {
    /// `given` is VOD_COVER_OPS_TOKEN, and comes before the file. Blocks for a moment.
    pub fn new(given: Option<SecretString>, file: &Path, listen: IpAddr) -> Result<Self, BadToken> {
        let from_file = || {
            let text = std::fs::read_to_string(file);
            let unreadable = |error| BadToken::Unreadable(file.display().to_string(), error);
            Ok(SecretString::from(text.map_err(unreadable)?.trim()))
        };
        let given = given.filter(|token| !token.expose_secret().is_empty());
        let (token, source) = match given {
            Some(token) => (Some(token), "VOD_COVER_OPS_TOKEN"),
            None if file.as_os_str().is_empty() => (None, ""),
            None => (Some(from_file()?), "ops.token_file"),
        };
        if token.as_ref().is_some_and(|token| token.expose_secret().len() < LEAST_TOKEN) {
            return Err(BadToken::TooShort(source));
        }
        let mut key = [0; 32];
        key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        Ok(Self { token, key, on_loopback: listen.is_loopback(), guess: Mutex::new(()) })
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub fn who(&self, headers: &HeaderMap) -> Who {
        if let Some(bearer) = text(headers, header::AUTHORIZATION)
            && let Some(token) = bearer.strip_prefix("Bearer ")
        {
            // Nothing sends this header by itself, so that whoever does means it.
            return if self.is_token(token) { self.operator("bearer") } else { Who::Nobody };
        }
        if let Some(session) = self.session(headers) {
            return self.operator(session);
        }
        // A name that somebody else's DNS lets point to loopback is not this machine.
        match self.on_loopback && host(headers).is_some_and(|(host, _)| is_loopback(&host)) {
            true => Who::Reader,
            false => Who::Nobody,
        }
    }

    /// The cookie of a session that begins now, if this is the token.
    pub async fn log_in(&self, token: &str) -> Option<String> {
        let _turn = self.guess.lock().await;
        if !self.is_token(token) {
            tokio::time::sleep(WRONG_TAKES).await;
            return None;
        }
        let until = Timestamp::now().as_second() + SESSION;
        let session = format!("{until}.{}", uuid::Uuid::new_v4().simple());
        let signature = self.sign("session", &[&session]);
        Some(format!(
            "{COOKIE}={session}.{signature}; Path=/; Max-Age={SESSION}; HttpOnly; SameSite=Strict"
        ))
    }

    /// The cookie that ends a session.
    pub fn log_out() -> String {
        format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
    }

    /// Whether a request that changes something may come from a page of ours: browsers say where from.
    pub fn is_of_this_site(headers: &HeaderMap) -> bool {
        let fetched = text(headers, "sec-fetch-site".parse().ok());
        if fetched.is_some_and(|site| site != "same-origin" && site != "none") {
            return false;
        }
        match text(headers, header::ORIGIN) {
            None => true,
            Some(origin) => {
                let rest = origin.split_once("://").map(|(_, rest)| rest);
                rest.is_some() && rest == text(headers, header::HOST)
            }
        }
    }

    /// Hexadecimal. What is signed for one use is of none for another.
    pub fn sign(&self, used_for: &str, parts: &[&str]) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        for part in [used_for].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        crate::vod::sign::hex(&mac.finalize().into_bytes()[..16])
    }

    pub fn is_signed(&self, used_for: &str, parts: &[&str], signature: &str) -> bool {
        let right = self.sign(used_for, parts);
        !right.is_empty() && right.as_bytes().ct_eq(signature.as_bytes()).into()
    }

    fn is_token(&self, given: &str) -> bool {
        // Of the same length, whatever was given.
        let digest = |text: &str| self.sign("token", &[text]);
        self.token.as_ref().is_some_and(|token| {
            let (right, given) = (digest(token.expose_secret()), digest(given));
            !right.is_empty() && right.as_bytes().ct_eq(given.as_bytes()).into()
        })
    }

    fn operator(&self, session: &str) -> Who {
        Who::Operator { word: self.sign("form", &[session]) }
    }

    fn session<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|it| it.to_str().ok());
        let mut parts = cookies.flat_map(|cookies| cookies.split(';')).map(str::trim);
        let cookie = parts.find_map(|part| part.strip_prefix(COOKIE)?.strip_prefix('='))?;
        let (session, signature) = cookie.rsplit_once('.')?;
        let until: i64 = session.split_once('.')?.0.parse().ok()?;
        let is_good = self.is_signed("session", &[session], signature)
            && until > Timestamp::now().as_second()
            && self.token.is_some();
        is_good.then_some(session)
    }
}

fn text(headers: &HeaderMap, name: impl Into<Option<header::HeaderName>>) -> Option<&str> {
    headers.get(name.into()?)?.to_str().ok()
}

/// The host that was asked for, and its port.
fn host(headers: &HeaderMap) -> Option<(Host<String>, Option<u16>)> {
    let asked = url::Url::parse(&format!("http://{}/", text(headers, header::HOST)?)).ok()?;
    Some((asked.host()?.to_owned(), asked.port()))
}

fn is_loopback(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn access(token: Option<&str>, listen: &str) -> Access {
        Access::new(token.map(Into::into), Path::new(""), listen.parse().unwrap()).unwrap()
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn on_loopback_everybody_may_look_but_not_under_a_foreign_name() {
        let access = access(None, "127.0.0.1");
        for host in ["localhost:9090", "127.0.0.1", "[::1]:9090", "vod.localhost"] {
            assert_eq!(access.who(&headers(&[("host", host)])), Who::Reader, "{host}");
        }
        for host in ["evil.example:9090", "10.0.0.1", "localhost.evil.example", "no host"] {
            assert_eq!(access.who(&headers(&[("host", host)])), Who::Nobody, "{host}");
        }
        assert_eq!(access.who(&headers(&[])), Who::Nobody);
    }

    #[test]
    fn elsewhere_nobody_may_look_without_the_token() {
        let access = access(Some(TOKEN), "0.0.0.0");
        assert_eq!(access.who(&headers(&[("host", "localhost")])), Who::Nobody);
        let with =
            |token: &str| access.who(&headers(&[("authorization", &format!("Bearer {token}"))]));
        assert!(matches!(with(TOKEN), Who::Operator { .. }));
        for wrong in ["", "0123456789abcdeF", "0123456789abcdef0"] {
            assert_eq!(with(wrong), Who::Nobody, "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_what_the_token_opened_and_nothing_else() {
        let access = access(Some(TOKEN), "0.0.0.0");
        assert_eq!(access.log_in("0123456789abcdeg").await, None);
        let cookie = access.log_in(TOKEN).await.unwrap();
        let value = cookie.split(';').next().unwrap();
        let who = |value: &str| access.who(&headers(&[("cookie", value)]));
        assert!(matches!(who(&format!("other=1; {value}")), Who::Operator { .. }));
        let later = value.replacen(|c: char| c.is_ascii_digit(), "9", 1);
        for wrong in [&value[..value.len() - 1], &later, "vod-cover=", "vod-cover=9.a.b"] {
            assert_eq!(who(wrong), Who::Nobody, "{wrong}");
        }
        let another = Access::new(Some(TOKEN.into()), Path::new(""), [0, 0, 0, 0].into()).unwrap();
        assert_eq!(another.who(&headers(&[("cookie", value)])), Who::Nobody, "of another process");
    }

    #[test]
    fn a_request_from_another_site_is_known_by_its_headers() {
        let ours = |pairs: &[(&str, &str)]| Access::is_of_this_site(&headers(pairs));
        let host = ("host", "cover:9090");
        assert!(ours(&[host]) && ours(&[host, ("origin", "http://cover:9090")]));
        assert!(ours(&[host, ("sec-fetch-site", "same-origin")]));
        for origin in ["http://evil.example", "null", "http://cover", "http://cover:9090.evil"] {
            assert!(!ours(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!ours(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(!ours(&[host, ("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn what_is_signed_for_one_use_is_of_none_for_another() {
        let access = access(None, "127.0.0.1");
        let signature = access.sign("picture", &["ab", "c"]);
        assert!(access.is_signed("picture", &["ab", "c"], &signature));
        for (used_for, parts) in [("choose", ["ab", "c"]), ("picture", ["a", "bc"])] {
            assert!(!access.is_signed(used_for, &parts, &signature));
        }
        assert!(!access.is_signed("picture", &["ab", "c"], ""));
    }

    #[test]
    fn a_token_that_can_be_guessed_or_read_by_nobody_is_refused() {
        let short = Access::new(Some("secret".into()), Path::new(""), [127, 0, 0, 1].into());
        assert!(matches!(short, Err(BadToken::TooShort("VOD_COVER_OPS_TOKEN"))));
        let missing = Access::new(None, Path::new("/nonexistent/token"), [127, 0, 0, 1].into());
        assert!(matches!(missing, Err(BadToken::Unreadable(..))));
    }
}
