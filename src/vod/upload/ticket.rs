//! What CreateUploadImage answers: where one picture may be put, with which temporary key, and where it
//! can be had afterwards. Nothing of it is believed before it is plausible, because a request is built
//! and signed with it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use url::{Host, Url};

use crate::cover::CoverUrl;
use crate::vod::sign::Identity;
use crate::vod::sign::oss::encoded_key;
use crate::vod::wire;

/// With padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Longest name of an object, in bytes.
const MOST_KEY: usize = 1023;

/// The right to upload one picture, for 50 minutes.
#[derive(Debug)]
pub struct Ticket {
    /// The picture's address once it is uploaded.
    pub image: CoverUrl,
    /// Where to PUT it: the bucket is part of the host name, since OSS takes it nowhere else.
    pub(super) object: Url,
    pub(super) region: String,
    pub(super) bucket: String,
    /// Not encoded.
    pub(super) key: String,
    access_key_id: String,
    access_key_secret: SecretString,
    security_token: SecretString,
}

/// What this side has to say about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wishes<'a> {
    /// The endpoint to use instead of the one that VOD names, or nothing.
    pub endpoint: &'a str,
    /// The region to sign for if VOD names none in any form, or nothing.
    pub region: &'a str,
    pub allow_plain_http: bool,
}

impl Ticket {
    /// `Err` says what is wrong with the answer.
    pub(super) fn read(reply: wire::CreateUploadImage, wishes: Wishes<'_>) -> Result<Self, String> {
        let image =
            CoverUrl::new(&reply.image_url).map_err(|error| format!("ImageURL: {error}"))?;
        let address: wire::UploadAddress = decode("UploadAddress", &reply.upload_address)?;
        let auth: wire::UploadAuth = decode("UploadAuth", &reply.upload_auth)?;
        if !is_bucket(&address.bucket) {
            return Err(format!("its bucket {:?} is none", beginning(&address.bucket)));
        }
        if !is_key(&address.file_name) {
            return Err(format!("its file name {:?} is none", beginning(&address.file_name)));
        }
        let sendable = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if ![&auth.access_key_id, &auth.access_key_secret, &auth.security_token]
            .into_iter()
            .all(|text| sendable(text))
        {
            return Err("its temporary key is not plain text".to_owned());
        }
        let named = match wishes.endpoint.is_empty() {
            true => &address.endpoint,
            false => wishes.endpoint,
        };
        let endpoint = endpoint(named, wishes.allow_plain_http)?;
        let host = endpoint.host_str().unwrap_or_default();
        let region = auth.region.as_deref().map(|region| region.trim_start_matches("oss-"));
        let region = region.or_else(|| region_of(host)).unwrap_or(wishes.region);
        if !is_name(region) {
            return Err("it does not tell the region; set vod.region".to_owned());
        }
        let port = endpoint.port().map(|port| format!(":{port}")).unwrap_or_default();
        let object = format!(
            "{}://{}.{host}{port}/{}",
            endpoint.scheme(),
            address.bucket,
            encoded_key(&address.file_name)
        );
        Ok(Self {
            image,
            object: Url::parse(&object).map_err(|error| format!("its endpoint: {error}"))?,
            region: region.to_owned(),
            bucket: address.bucket,
            key: address.file_name,
            access_key_id: auth.access_key_id,
            access_key_secret: auth.access_key_secret.into(),
            security_token: auth.security_token.into(),
        })
    }

    pub(super) fn identity(&self) -> Identity<'_> {
        Identity {
            access_key_id: &self.access_key_id,
            access_key_secret: self.access_key_secret.expose_secret(),
            security_token: Some(self.security_token.expose_secret()),
        }
    }
}

/// JSON in Base64. What it says of itself in an error must not be part of it: it holds a key.
fn decode<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, String> {
    let bytes = BASE64.decode(text.trim()).map_err(|_| format!("{name} is not Base64"))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| format!("{name} does not hold what it should ({:?})", error.classify()))
}

/// Enough to tell what it is.
fn beginning(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A host by name: a bucket cannot be put before an address.
fn endpoint(text: &str, allow_plain_http: bool) -> Result<Url, String> {
    let bad = |why: &str| format!("its endpoint {:?} {why}", beginning(text));
    let full = match text.contains("://") {
        true => text.trim().to_owned(),
        false => format!("https://{}", text.trim()),
    };
    let url = Url::parse(&full).map_err(|_| bad("is no URL"))?;
    match url.scheme() {
        "https" => {}
        "http" if allow_plain_http => {}
        _ => return Err(bad("is not https")),
    }
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        return Err(bad("is more than a host"));
    }
    match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => Ok(url),
        _ => Err(bad("is not a host name")),
    }
}

/// `oss-cn-shanghai.aliyuncs.com` and `oss-cn-shanghai-internal.aliyuncs.com`.
fn region_of(host: &str) -> Option<&str> {
    let region = host.strip_suffix(".aliyuncs.com")?.strip_prefix("oss-")?;
    let region = region.strip_suffix("-internal").unwrap_or(region);
    (!region.starts_with("accelerate") && is_name(region)).then_some(region)
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(fits)
}

fn is_bucket(text: &str) -> bool {
    (3..=63).contains(&text.len())
        && is_name(text)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// No `.` and `..` either, which every URL library takes for directories.
fn is_key(text: &str) -> bool {
    (1..=MOST_KEY).contains(&text.len())
        && !text.chars().any(char::is_control)
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HOST: &str = "oss-cn-beijing.aliyuncs.com";

    fn address() -> Value {
        json!({"Endpoint": format!("https://{HOST}"), "Bucket": "outin-1", "FileName": "image/a b.jpg"})
    }

    fn auth() -> Value {
        json!({"AccessKeyId": "STS.x", "AccessKeySecret": "s", "SecurityToken": "t/+==",
            "Expiration": 3000, "ExpireUTCTime": "2026-01-01T00:00:00Z"})
    }

    fn read(address: &Value, auth: &Value, wishes: Wishes<'_>) -> Result<Ticket, String> {
        let encode = |value: &Value| BASE64.encode(value.to_string());
        let reply = wire::CreateUploadImage {
            image_url: "http://cdn.example.com/image/a%20b.jpg?auth_key=1-0-0-x".to_owned(),
            upload_address: encode(address),
            // As some SDKs pass it on.
            upload_auth: encode(auth).trim_end_matches('=').to_owned(),
        };
        Ticket::read(reply, wishes)
    }

    const NO_WISHES: Wishes<'_> =
        Wishes { endpoint: "", region: "cn-shanghai", allow_plain_http: false };

    fn with(mut value: Value, name: &str, member: Value) -> Value {
        value[name] = member;
        value
    }

    #[test]
    fn a_ticket_names_one_object_of_a_bucket_in_the_host_name() {
        let ticket = read(&address(), &auth(), NO_WISHES).unwrap();
        assert_eq!(
            ticket.object.as_str(),
            "https://outin-1.oss-cn-beijing.aliyuncs.com/image/a%20b.jpg"
        );
        assert_eq!(ticket.image.as_str(), "http://cdn.example.com/image/a%20b.jpg");
        assert_eq!(ticket.region, "cn-beijing");
        let printed = format!("{ticket:?}");
        assert!(!printed.contains("t/+=="), "{printed}");
    }

    #[test]
    fn the_region_is_the_named_one_or_the_endpoints_or_the_configured_one() {
        let region = |address: Value, auth: Value| read(&address, &auth, NO_WISHES).unwrap().region;
        let at = |host: &str| with(address(), "Endpoint", json!(host));
        assert_eq!(region(address(), with(auth(), "Region", json!("oss-cn-x"))), "cn-x");
        assert_eq!(region(address(), with(auth(), "Region", json!("cn-x"))), "cn-x");
        assert_eq!(region(at("oss-cn-beijing-internal.aliyuncs.com"), auth()), "cn-beijing");
        assert_eq!(region(at("oss-accelerate.aliyuncs.com"), auth()), "cn-shanghai");
        assert_eq!(region(at("https://uploads.example.com"), auth()), "cn-shanghai");
    }

    #[test]
    fn a_wished_endpoint_wins_and_plain_http_needs_to_be_allowed() {
        let vpc = Wishes { endpoint: "oss-cn-beijing-internal.aliyuncs.com", ..NO_WISHES };
        let ticket = read(&address(), &auth(), vpc).unwrap();
        assert!(ticket.object.as_str().starts_with("https://outin-1.oss-cn-beijing-internal."));
        let plain = with(address(), "Endpoint", json!("http://oss.localhost:80"));
        assert!(read(&plain, &auth(), NO_WISHES).is_err());
        let allowed = Wishes { allow_plain_http: true, ..NO_WISHES };
        assert!(read(&plain, &auth(), allowed).is_ok());
    }

    #[test]
    fn what_is_not_plausible_is_refused_without_a_word_of_the_key() {
        for (name, value) in [
            ("Endpoint", "https://127.0.0.1"),
            ("Endpoint", "https://[::1]"),
            ("Endpoint", "https://oss.example.com/path"),
            ("Endpoint", "https://oss.example.com?x"),
            ("Endpoint", "https://u:p@oss.example.com"),
            ("Endpoint", "ftp://oss.example.com"),
            ("Endpoint", ""),
            ("Bucket", ""),
            ("Bucket", "evil.example.com/"),
            ("Bucket", "Upper"),
            ("Bucket", "-ab"),
            ("FileName", ""),
            ("FileName", "/a"),
            ("FileName", "a/../b"),
            ("FileName", "a\nb"),
        ] {
            let odd = with(address(), name, json!(value));
            assert!(read(&odd, &auth(), NO_WISHES).is_err(), "{name} {value:?}");
        }
        let split = with(auth(), "SecurityToken", json!("secret\r\nx: y"));
        let error = read(&address(), &split, NO_WISHES).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        let short = with(auth(), "AccessKeySecret", json!({"secret": 1}));
        let error = read(&address(), &short, NO_WISHES).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}
