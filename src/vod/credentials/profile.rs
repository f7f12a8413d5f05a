//! Keys from the two files that Alibaba's tools keep in the home directory.

use super::chain::{Found, Offer, Sources};
use super::sts::{self, Oidc, Role};
use super::{Credential, Error, metadata};

pub(super) mod cli;
pub(super) mod ini;

/// What a profile says to do, in whichever file and under whichever name it was said.
enum Way {
    Key(Credential),
    RoleByKey(Role, Credential),
    RoleByOidc(Role, Oidc),
    InstanceRole(Option<String>),
}

async fn take(sources: &Sources, way: Way, found: Found) -> Result<Offer, Error> {
    let credential = match way {
        Way::Key(credential) => credential,
        Way::RoleByKey(role, key) => sts::assume(sources, &role, &key).await?,
        Way::RoleByOidc(role, oidc) => sts::assume_with_oidc(sources, &role, &oidc).await?,
        Way::InstanceRole(role) => metadata::instance_role(sources, role.as_deref()).await?,
    };
    Ok(Offer::Key(credential, found))
}

/// A permanent key, or a temporary one of unknown end.
fn key(id: String, secret: String, token: Option<String>, source: String) -> Credential {
    Credential {
        access_key_id: id,
        access_key_secret: secret.into(),
        security_token: token.map(Into::into),
        expiration: None,
        source,
    }
}
