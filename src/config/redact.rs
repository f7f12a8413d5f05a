//! Takes the secrets out of a configuration that is about to be printed. Pure.

use toml::{Table, Value};
use url::Url;

/// Every value under a name that says secret becomes `***`, and every URL loses its password, its query
/// and its fragment.
pub(super) fn table(table: Table) -> Table {
    table.into_iter().map(|(name, found)| (name.clone(), value(&name, found))).collect()
}

fn value(name: &str, value: Value) -> Value {
    match value {
        Value::Table(inner) => Value::Table(table(inner)),
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| self::value(name, item)).collect())
        }
        Value::String(text) if text.is_empty() => Value::String(text),
        Value::String(_) if is_secret(name) => Value::String("***".into()),
        Value::String(text) => Value::String(without_password(&text)),
        other => other,
    }
}

/// `access_key_secret` is one; `access_key_secret_file` is only the way to one.
fn is_secret(name: &str) -> bool {
    let last = name.rsplit('_').next().unwrap_or(name);
    ["secret", "token", "password", "key", "keys"].contains(&last)
}

fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    // Several hosts, as Sentinel and Cluster have them, are no URL; the user part ends at the last `@`
    // before the path.
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let authority = match authority.rsplit_once('@') {
        Some((user, hosts)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{user}:***@{hosts}")
        }
        None => authority.to_owned(),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    // A password with a bare `/` in it makes the text no URL at all: then nothing of it is shown.
    match Url::parse(&format!("{scheme}://{}", authority.split(',').next().unwrap_or_default())) {
        Ok(_) if !path.contains('@') => format!("{scheme}://{authority}{path}"),
        _ => format!("{scheme}://***"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_survives_and_the_rest_does() {
        let before: Table = toml::from_str(
            r#"
            list = ["amqp://u:hunter2@h/v", "plain"]
            [a]
            url = "amqp://user:hunter2@host:5672/vhost?x=hunter2"
            many = "redis+sentinel://u:hunter2@h1:1,h2:2/master/0"
            odd = "redis://:hunter/2@h/0"
            access_key_secret = "hunter2"
            callback_key = "hunter2"
            keys_file = "/run/keys"
            region = "cn-shanghai"
            n = 7
            "#,
        )
        .unwrap();
        let after = table(before).to_string();
        assert!(!after.contains("hunter"), "{after}");
        for kept in [
            "user:***@host:5672/vhost",
            "h1:1,h2:2/master/0",
            "/run/keys",
            "cn-shanghai",
            "plain",
            "7",
        ] {
            assert!(after.contains(kept), "{kept} in {after}");
        }
    }
}
