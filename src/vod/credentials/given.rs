//! A key that is given directly: in files, or in environment variables. Each value is looked up by
//! itself, and a file wins over the plain variable.

use std::path::Path;

use super::chain::{Found, Offer, Sources, read};
use super::{Credential, Error};

const ID: Value = Value {
    what: "the access key id",
    file: "ALIBABA_CLOUD_ACCESS_KEY_ID_FILE",
    plain: "ALIBABA_CLOUD_ACCESS_KEY_ID",
};
const SECRET: Value = Value {
    what: "the access key secret",
    file: "ALIBABA_CLOUD_ACCESS_KEY_SECRET_FILE",
    plain: "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
};
const TOKEN: Value = Value {
    what: "the security token",
    file: "ALIBABA_CLOUD_SECURITY_TOKEN_FILE",
    plain: "ALIBABA_CLOUD_SECURITY_TOKEN",
};

struct Value {
    what: &'static str,
    /// The variable that names a file.
    file: &'static str,
    /// The variable that holds the value.
    plain: &'static str,
}

pub(super) async fn offer(sources: &Sources) -> Result<Offer, Error> {
    let mut found = Found::default();
    let settings = &sources.settings;
    let id = look_up(sources, &ID, &settings.access_key_id_file, &mut found).await?;
    let secret = look_up(sources, &SECRET, &settings.access_key_secret_file, &mut found).await?;
    match (id, secret) {
        (Some((access_key_id, source)), Some((secret, _))) => {
            let token = look_up(sources, &TOKEN, &settings.security_token_file, &mut found).await?;
            let credential = Credential {
                access_key_id,
                access_key_secret: secret.into(),
                security_token: token.map(|(token, _)| token.into()),
                expiration: None,
                source,
            };
            Ok(Offer::Key(credential, found))
        }
        (None, None) => Offer::absent("ALIBABA_CLOUD_ACCESS_KEY_ID is not set"),
        (Some((_, source)), None) => {
            Err(Error::Incomplete { what: format!("the key of {source}"), missing: SECRET.plain })
        }
        (None, Some((_, source))) => {
            Err(Error::Incomplete { what: format!("the key of {source}"), missing: ID.plain })
        }
    }
}

/// The value and where it came from.
async fn look_up(
    sources: &Sources,
    value: &Value,
    setting: &Path,
    found: &mut Found,
) -> Result<Option<(String, String)>, Error> {
    let file = if setting.as_os_str().is_empty() {
        sources.environment.path(value.file)
    } else {
        Some(setting.to_owned())
    };
    if let Some(path) = file {
        found.watch(&path);
        let text = read(value.what, &path).await?;
        return Ok(Some((text, format!("the file {path:?}"))));
    }
    let plain = sources.environment.get(value.plain);
    Ok(plain.map(|text| (text, format!("the variable {}", value.plain))))
}
