//! The shared credentials file of Alibaba's SDKs, `~/.alibabacloud/credentials.ini`.
//!
//! Documentation:
//! <https://www.alibabacloud.com/help/en/sdk/developer-reference/v2-manage-python-access-credentials>

use ini::{Ini, Properties};

use super::{Oidc, Role, Way, key, take};
use crate::vod::credentials::Error;
use crate::vod::credentials::chain::{Found, Offer, Sources, read};

pub(in crate::vod::credentials) async fn offer(sources: &Sources) -> Result<Offer, Error> {
    let environment = &sources.environment;
    let named = environment.path("ALIBABA_CLOUD_CREDENTIALS_FILE");
    let path = named.clone().or_else(|| environment.home(".alibabacloud/credentials.ini"));
    // A file that was named must be there.
    let Some(path) = path.filter(|path| named.is_some() || path.is_file()) else {
        return Offer::absent("~/.alibabacloud/credentials.ini does not exist");
    };
    let mut found = Found::default();
    found.watch(&path);
    let text = read("credentials", &path).await?;
    let file = path.display();
    // Secrets may contain a backslash; the SDKs' parsers know no escapes either.
    let ini = Ini::load_from_str_noescape(&text).map_err(|error| Error::Malformed {
        what: format!("the file {file}"),
        why: format!("{} at line {} column {}", error.msg, error.line, error.col),
    })?;
    let name = environment.get("ALIBABA_CLOUD_PROFILE").unwrap_or_else(|| "default".to_owned());
    let Some(section) = ini.section(Some(&name)) else {
        return Offer::absent(format!("{file} has no section {name:?}"));
    };
    let way = way(section, format!("section {name:?} of {file}"))?;
    take(sources, way, found).await
}

fn way(section: &Properties, what: String) -> Result<Way, Error> {
    let some = |name| section.get(name).map(str::trim).filter(|v| !v.is_empty()).map(str::to_owned);
    let need =
        |name| some(name).ok_or_else(|| Error::Incomplete { what: what.clone(), missing: name });
    let with =
        |token| Ok(key(need("access_key_id")?, need("access_key_secret")?, token, what.clone()));
    let role = || {
        Ok(Role {
            arn: need("role_arn")?,
            session_name: some("role_session_name"),
            policy: some("policy"),
            ..Role::default()
        })
    };
    Ok(match need("type")?.as_str() {
        "access_key" => Way::Key(with(None)?),
        "ram_role_arn" => Way::RoleByKey(role()?, with(some("security_token"))?),
        "oidc_role_arn" => Way::RoleByOidc(
            role()?,
            Oidc {
                provider_arn: need("oidc_provider_arn")?,
                token_file: need("oidc_token_file_path")?.into(),
            },
        ),
        "ecs_ram_role" => Way::InstanceRole(some("role_name")),
        other => {
            return Err(Error::Unsupported {
                what: format!("the type of {what}"),
                found: other.chars().take(64).collect(),
                instead: "use access_key, ram_role_arn, oidc_role_arn or ecs_ram_role",
            });
        }
    })
}
