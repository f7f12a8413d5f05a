//! Keys that a service close by hands out: the ECS metadata service for the machine's RAM role, and the
//! address in `ALIBABA_CLOUD_CREDENTIALS_URI`.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/ecs/user-guide/instance-metadata>

use reqwest::{Client, Method};
use serde::Deserialize;
use url::Url;

use super::chain::{Found, Offer, Sources};
use super::web::{self, Key};
use super::{Credential, Error};

const SERVICE: &str = "the ECS metadata service";
const ROLES: &str = "latest/meta-data/ram/security-credentials/";

/// The machine's role. A metadata service that cannot be reached, or that knows no role, means that this
/// is no such machine.
pub(super) async fn offer_instance_role(sources: &Sources) -> Result<Offer, Error> {
    let environment = &sources.environment;
    if environment.is_true("ALIBABA_CLOUD_ECS_METADATA_DISABLED") {
        return Offer::absent("ALIBABA_CLOUD_ECS_METADATA_DISABLED is true");
    }
    let named = environment.get("ALIBABA_CLOUD_ECS_METADATA");
    match instance_role(sources, named.as_deref()).await {
        Ok(credential) => Ok(Offer::Key(credential, Found::default())),
        // A named role was configured, so its failure is not passed over.
        Err(error) if named.is_some() => Err(error),
        Err(error) => Offer::absent(crate::error::chain(&error)),
    }
}

/// The key of a role of this machine; of the only one if none is named.
pub(super) async fn instance_role(
    sources: &Sources,
    role: Option<&str>,
) -> Result<Credential, Error> {
    let setting = "vod.credentials.metadata_endpoint";
    let endpoint = parse_url(setting, &sources.settings.metadata_endpoint)?;
    let service = Metadata { client: sources.web.metadata(&endpoint)?, endpoint };
    let only_v2 = sources.environment.is_true("ALIBABA_CLOUD_IMDSV1_DISABLED");
    let token = match service.token().await {
        Ok(token) => Some(token),
        // Nobody answers at all: asking without a token would only cost another time limit.
        Err(error @ Error::Transport { .. }) => return Err(error),
        Err(error) if only_v2 => return Err(error),
        Err(_) => None,
    };
    match service.key(role, token.as_deref()).await {
        Err(Error::Refused { .. }) if token.is_some() && !only_v2 => service.key(role, None).await,
        other => other,
    }
}

/// `ALIBABA_CLOUD_CREDENTIALS_URI`: plain http is usual here, as such a service is a neighbour.
pub(super) async fn offer_by_uri(sources: &Sources) -> Result<Offer, Error> {
    let variable = "ALIBABA_CLOUD_CREDENTIALS_URI";
    let Some(uri) = sources.environment.get(variable) else {
        return Offer::absent(format!("{variable} is not set"));
    };
    let url = parse_url(variable, &uri)?;
    let service = format!("the address in {variable}");
    let client = sources.web.service(&url)?;
    let (status, body) = web::ask(&service, client.get(url)).await?;
    if status != 200 {
        return Err(web::refused(&service, status, &body));
    }
    let credential = parse_key(&service, status, &body)?;
    Ok(Offer::Key(credential, Found::default()))
}

struct Metadata {
    client: Client,
    endpoint: Url,
}

impl Metadata {
    async fn token(&self) -> Result<String, Error> {
        let request = self
            .client
            .request(Method::PUT, self.url("latest/api/token")?)
            .header("X-aliyun-ecs-metadata-token-ttl-seconds", "21600");
        text(web::ask(SERVICE, request).await?)
    }

    async fn key(&self, role: Option<&str>, token: Option<&str>) -> Result<Credential, Error> {
        let role = match role {
            Some(role) => role.to_owned(),
            None => self.get(ROLES, token).await?.lines().next().unwrap_or_default().to_owned(),
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        if role.is_empty() || !role.chars().all(fits) {
            let what = format!("the role's name from {SERVICE}");
            return Err(Error::Malformed { what, why: format!("{role:.64?} is none") });
        }
        let body = self.get(&format!("{ROLES}{role}"), token).await?;
        parse_key(&format!("{SERVICE}, role {role}"), 200, body.as_bytes())
    }

    async fn get(&self, path: &str, token: Option<&str>) -> Result<String, Error> {
        let mut request = self.client.get(self.url(path)?);
        if let Some(token) = token {
            request = request.header("X-aliyun-ecs-metadata-token", token);
        }
        text(web::ask(SERVICE, request).await?)
    }

    fn url(&self, path: &str) -> Result<Url, Error> {
        self.endpoint.join(path).map_err(|_| Error::BadUrl {
            setting: "vod.credentials.metadata_endpoint",
            url: self.endpoint.to_string(),
            why: "it cannot have a path",
        })
    }
}

/// The metadata service answers an expired key with another `Code`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope {
    code: String,
}

fn parse_key(service: &str, status: u16, body: &[u8]) -> Result<Credential, Error> {
    let envelope: Envelope = web::parse(service, body)?;
    if envelope.code != "Success" {
        return Err(web::refused(service, status, body));
    }
    web::parse::<Key>(service, body)?.into_credential(service.to_owned())
}

fn text((status, body): (u16, Vec<u8>)) -> Result<String, Error> {
    if status != 200 {
        return Err(web::refused(SERVICE, status, &body));
    }
    let text = String::from_utf8(body).map_err(|_| Error::Malformed {
        what: format!("the answer of {SERVICE}"),
        why: "it is no text".to_owned(),
    })?;
    Ok(text.trim().to_owned())
}

fn parse_url(setting: &'static str, text: &str) -> Result<Url, Error> {
    let bad = |why| Error::BadUrl { setting, url: text.to_owned(), why };
    let url = Url::parse(text).map_err(|_| bad("it is no URL"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(bad("it must start with http:// or https://")),
    }
}
