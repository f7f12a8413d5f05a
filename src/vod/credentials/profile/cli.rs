//! The profile of the Alibaba Cloud CLI, `~/.aliyun/config.json`.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/cli/configure-credentials>

use serde::Deserialize;

use super::{Oidc, Role, Way, key, take};
use crate::vod::credentials::Error;
use crate::vod::credentials::chain::{Found, Offer, Sources, read};
use crate::vod::credentials::web;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    current: String,
    #[serde(default)]
    profiles: Vec<Profile>,
}

/// The CLI writes empty text where nothing is set.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Profile {
    name: String,
    mode: String,
    access_key_id: String,
    access_key_secret: String,
    sts_token: String,
    sts_region: String,
    ram_role_name: String,
    ram_role_arn: String,
    ram_session_name: String,
    role_session_name: String,
    policy: String,
    external_id: String,
    expired_seconds: u64,
    oidc_provider_arn: String,
    oidc_token_file: String,
    enable_vpc: Option<bool>,
}

pub(in crate::vod::credentials) async fn offer(sources: &Sources) -> Result<Offer, Error> {
    let environment = &sources.environment;
    if environment.is_true("ALIBABA_CLOUD_CLI_PROFILE_DISABLED") {
        return Offer::absent("ALIBABA_CLOUD_CLI_PROFILE_DISABLED is true");
    }
    let path = environment.home(".aliyun/config.json");
    let Some(path) = path.filter(|path| path.is_file()) else {
        return Offer::absent("~/.aliyun/config.json does not exist");
    };
    let mut found = Found::default();
    found.watch(&path);
    let text = read("the CLI's profiles", &path).await?;
    let file = path.display();
    let config: Config = web::parse(&format!("the file {file}"), text.as_bytes())?;
    let name = environment.get("ALIBABA_CLOUD_PROFILE").unwrap_or(config.current);
    let Some(profile) = config.profiles.into_iter().find(|profile| profile.name == name) else {
        return Offer::absent(format!("{file} has no profile {name:?}"));
    };
    // What the CLI leaves behind when it was installed and never configured.
    if matches!(profile.mode.as_str(), "" | "AK") && profile.access_key_id.is_empty() {
        return Offer::absent(format!("profile {name:?} of {file} has no key"));
    }
    let way = profile.way(format!("profile {name:?} of {file}"))?;
    take(sources, way, found).await
}

impl Profile {
    fn way(self, what: String) -> Result<Way, Error> {
        let need = |value: &str, missing| match value {
            "" => Err(Error::Incomplete { what: what.clone(), missing }),
            value => Ok(value.to_owned()),
        };
        let some = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        let id = || need(&self.access_key_id, "access_key_id");
        let secret = || need(&self.access_key_secret, "access_key_secret");
        let role = || {
            Ok(Role {
                arn: need(&self.ram_role_arn, "ram_role_arn")?,
                session_name: some(&self.ram_session_name).or(some(&self.role_session_name)),
                policy: some(&self.policy),
                external_id: some(&self.external_id),
                duration: (self.expired_seconds > 0).then_some(self.expired_seconds),
                region: some(&self.sts_region),
                vpc: self.enable_vpc,
            })
        };
        Ok(match self.mode.as_str() {
            "AK" | "" => Way::Key(key(id()?, secret()?, None, what.clone())),
            "StsToken" => {
                let token = need(&self.sts_token, "sts_token")?;
                Way::Key(key(id()?, secret()?, Some(token), what.clone()))
            }
            "RamRoleArn" => {
                let with = key(id()?, secret()?, some(&self.sts_token), what.clone());
                Way::RoleByKey(role()?, with)
            }
            "EcsRamRole" => Way::InstanceRole(some(&self.ram_role_name)),
            "OIDC" => Way::RoleByOidc(
                role()?,
                Oidc {
                    provider_arn: need(&self.oidc_provider_arn, "oidc_provider_arn")?,
                    token_file: need(&self.oidc_token_file, "oidc_token_file")?.into(),
                },
            ),
            other => {
                return Err(Error::Unsupported {
                    what: format!("the mode of {what}"),
                    found: other.chars().take(64).collect(),
                    instead: "choose one of AK, StsToken, RamRoleArn, EcsRamRole and OIDC with \
                              ALIBABA_CLOUD_PROFILE, or set \
                              ALIBABA_CLOUD_CLI_PROFILE_DISABLED=true to pass over the file",
                });
            }
        })
    }
}
