//! Temporary keys of a RAM role from STS: by an OIDC token (RRSA in Kubernetes), or by another key.
//!
//! Documentation:
//! <https://www.alibabacloud.com/help/en/ram/developer-reference/api-sts-2015-04-01-assumerolewithoidc>

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use super::chain::{Found, Offer, Sources, read};
use super::web::{self, Key};
use super::{Credential, Error};
use crate::vod::http;
use crate::vod::sign::{self, Request, Signature};

const VERSION: &str = "2015-04-01";

/// The role to assume, wherever it is configured.
#[derive(Debug, Default)]
pub(super) struct Role {
    pub arn: String,
    pub session_name: Option<String>,
    pub policy: Option<String>,
    pub external_id: Option<String>,
    /// Seconds; STS accepts no less than 900.
    pub duration: Option<u64>,
    /// The region whose STS is asked, unless the environment names one.
    pub region: Option<String>,
    pub vpc: Option<bool>,
}

/// How the OIDC token is found.
#[derive(Debug)]
pub(super) struct Oidc {
    pub provider_arn: String,
    pub token_file: PathBuf,
}

pub(super) async fn offer_by_environment(sources: &Sources) -> Result<Offer, Error> {
    let get = |name| sources.environment.get(name);
    let (Some(arn), Some(provider_arn), Some(token_file)) = (
        get("ALIBABA_CLOUD_ROLE_ARN"),
        get("ALIBABA_CLOUD_OIDC_PROVIDER_ARN"),
        get("ALIBABA_CLOUD_OIDC_TOKEN_FILE"),
    ) else {
        return Offer::absent(
            "ALIBABA_CLOUD_ROLE_ARN, ALIBABA_CLOUD_OIDC_PROVIDER_ARN and \
             ALIBABA_CLOUD_OIDC_TOKEN_FILE are not all set",
        );
    };
    let session_name = get("ALIBABA_CLOUD_ROLE_SESSION_NAME");
    let role = Role { arn, session_name, ..Role::default() };
    let oidc = Oidc { provider_arn, token_file: token_file.into() };
    let credential = assume_with_oidc(sources, &role, &oidc).await?;
    Ok(Offer::Key(credential, Found::default()))
}

/// Unsigned: the token, which is read anew every time, is the proof. It travels in the body, so that it
/// ends up in no log of URLs.
pub(super) async fn assume_with_oidc(
    sources: &Sources,
    role: &Role,
    oidc: &Oidc,
) -> Result<Credential, Error> {
    let token = read("the OIDC token", &oidc.token_file).await?;
    let mut form = role.parameters();
    form.insert("OIDCProviderArn", oidc.provider_arn.clone());
    form.insert("OIDCToken", token);
    let common = BTreeMap::from([
        ("Action", "AssumeRoleWithOIDC".to_owned()),
        ("Format", "JSON".to_owned()),
        ("SignatureNonce", Uuid::new_v4().to_string()),
        ("Timestamp", sign::time(Timestamp::now())),
        ("Version", VERSION.to_owned()),
    ]);
    let mut url = endpoint(sources, role)?;
    url.set_query(Some(&sign::canonical_query(&common)));
    let request = sources
        .web
        .service(&url)?
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(sign::canonical_query(&form));
    ask(&format!("STS (AssumeRoleWithOIDC, {})", role.arn), request).await
}

/// Signed with another key, which must be allowed to assume the role.
pub(super) async fn assume(
    sources: &Sources,
    role: &Role,
    with: &Credential,
) -> Result<Credential, Error> {
    let mut url = endpoint(sources, role)?;
    let request = Request {
        method: "POST",
        host: &http::host(&url),
        version: VERSION,
        action: "AssumeRole",
        parameters: &role.parameters(),
    };
    let nonce = Uuid::new_v4().to_string();
    // The scheme that Alibaba's own credentials library uses here, whatever VOD's calls are signed with.
    let signed =
        sign::sign(Signature::HmacSha1, &request, &with.identity(), Timestamp::now(), &nonce);
    url.set_query(Some(&signed.query));
    ask(&format!("STS (AssumeRole, {})", role.arn), sources.web.service(&url)?.post(url)).await
}

impl Role {
    fn parameters(&self) -> BTreeMap<&'static str, String> {
        let session_name = self.session_name.clone().unwrap_or_else(|| "vod-cover".to_owned());
        let mut parameters = BTreeMap::from([
            ("DurationSeconds", self.duration.unwrap_or(3600).max(900).to_string()),
            ("RoleArn", self.arn.clone()),
            ("RoleSessionName", session_name),
        ]);
        parameters.extend(self.policy.clone().map(|policy| ("Policy", policy)));
        parameters.extend(self.external_id.clone().map(|id| ("ExternalId", id)));
        parameters
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Assumed {
    credentials: Key,
}

async fn ask(service: &str, request: reqwest::RequestBuilder) -> Result<Credential, Error> {
    let (status, body) = web::ask(service, request).await?;
    if status != 200 {
        return Err(web::refused(service, status, &body));
    }
    web::parse::<Assumed>(service, &body)?.credentials.into_credential(service.to_owned())
}

fn endpoint(sources: &Sources, role: &Role) -> Result<Url, Error> {
    let environment = &sources.environment;
    let configured = sources.settings.sts_endpoint.trim();
    let text = if configured.is_empty() {
        let vpc =
            role.vpc.unwrap_or_else(|| environment.is_true("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED"));
        let prefix = if vpc { "sts-vpc" } else { "sts" };
        let region = role.region.clone().or_else(|| environment.get("ALIBABA_CLOUD_STS_REGION"));
        match region {
            Some(region) => format!("https://{prefix}.{region}.aliyuncs.com/"),
            None => "https://sts.aliyuncs.com/".to_owned(),
        }
    } else {
        configured.to_owned()
    };
    let bad =
        |why| Error::BadUrl { setting: "vod.credentials.sts_endpoint", url: text.clone(), why };
    let url = Url::parse(&text).map_err(|_| bad("it is no URL"))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if http::is_loopback(&url) => Ok(url),
        _ => Err(bad("it must start with https://")),
    }
}
