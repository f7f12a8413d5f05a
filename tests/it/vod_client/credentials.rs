//! Every source of the credential chain, and their order.

use std::sync::Arc;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use vod_cover::vod::credentials::{Error, Settings};
use vod_cover::vod::{Credential, Credentials, Environment};

use super::server::{Answer, Directory, Seen, Server, credential_settings, ok, refuse, text};

const NOWHERE: &str = "http://127.0.0.1:9";

fn chain(url: &str, variables: &[(&str, &str)]) -> Credentials {
    let settings = serde_json::from_value(credential_settings(url)).expect("settings");
    Credentials::new(&settings, Environment::of(variables.iter().copied()))
}

async fn get(url: &str, variables: &[(&str, &str)]) -> Result<Arc<Credential>, Arc<Error>> {
    chain(url, variables).get().await
}

fn key(credential: &Credential) -> (String, String, Option<String>) {
    (
        credential.access_key_id.clone(),
        credential.access_key_secret.expose_secret().to_owned(),
        credential.security_token.as_ref().map(|token| token.expose_secret().to_owned()),
    )
}

fn temporary(id: &str) -> Value {
    json!({"Code": "Success", "AccessKeyId": id, "AccessKeySecret": "sts-secret",
        "SecurityToken": "sts-token", "Expiration": "2099-01-01T00:00:00Z"})
}

fn is_temporary(credential: &Credential, id: &str) {
    let expected = (id.to_owned(), "sts-secret".to_owned(), Some("sts-token".to_owned()));
    assert_eq!(key(credential), expected);
    assert!(credential.expiration.is_some());
}

/// STS and the metadata service in one: neither has a path of the other.
fn services(request: &Seen, _: usize) -> Answer {
    let with_token = request.header("x-aliyun-ecs-metadata-token") == "imds-token";
    let roles = "/latest/meta-data/ram/security-credentials/";
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/") => match request.query("Action") {
            "AssumeRoleWithOIDC" => ok(json!({"Credentials": temporary("oidc")})),
            "AssumeRole" => ok(json!({"Credentials": temporary("assumed")})),
            _ => refuse(404, "InvalidAction.NotFound"),
        },
        ("PUT", "/latest/api/token") => text(200, "imds-token"),
        ("GET", path) if path == roles && with_token => text(200, "my-role\n"),
        ("GET", path) if path == format!("{roles}my-role") && with_token => ok(temporary("ecs")),
        ("GET", "/uri") => ok(temporary("uri")),
        _ => text(404, "not here"),
    }
}

#[tokio::test]
async fn a_key_from_the_environment_with_and_without_a_token() {
    let pair = [("ALIBABA_CLOUD_ACCESS_KEY_ID", "id"), ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s")];
    let credential = get(NOWHERE, &pair).await.expect("a key");
    assert_eq!(key(&credential), ("id".into(), "s".into(), None));

    let all = [pair[0], pair[1], ("ALIBABA_CLOUD_SECURITY_TOKEN", "t")];
    let credential = get(NOWHERE, &all).await.expect("a key");
    assert_eq!(key(&credential), ("id".into(), "s".into(), Some("t".into())));
}

#[tokio::test]
async fn half_a_key_is_an_error_and_not_somebody_elses_key() {
    let server = Server::start(services).await;
    let error = get(&server.url, &[("ALIBABA_CLOUD_ACCESS_KEY_ID", "id")]).await.expect_err("half");
    assert!(error.to_string().contains("ALIBABA_CLOUD_ACCESS_KEY_SECRET"), "{error}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_file_overrides_the_variable_of_the_same_value() {
    let directory = Directory::new();
    let variables = [
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", "plain-id"),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "plain-secret"),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET_FILE", &directory.write("secret", " file-secret \n")),
    ];
    let credential = get(NOWHERE, &variables).await.expect("a key");
    assert_eq!(key(&credential), ("plain-id".into(), "file-secret".into(), None));

    let mut settings: Settings =
        serde_json::from_value(credential_settings(NOWHERE)).expect("settings");
    settings.access_key_id_file = directory.write("id", "file-id").into();
    let chain = Credentials::new(&settings, Environment::of(variables));
    let credential = chain.get().await.expect("a key");
    assert_eq!(key(&credential), ("file-id".into(), "file-secret".into(), None));
}

#[tokio::test]
async fn a_file_that_is_missing_or_empty_is_an_error_with_its_path() {
    let directory = Directory::new();
    let (missing, empty) = ("/nowhere/id".to_owned(), directory.write("empty", " \n"));
    for path in [missing, empty] {
        let variables = [("ALIBABA_CLOUD_ACCESS_KEY_ID_FILE", path.as_str())];
        let error = get(NOWHERE, &variables).await.expect_err("no key");
        assert!(error.to_string().contains(&path), "{error}");
    }
}

#[tokio::test]
async fn oidc_sends_the_token_in_the_body_and_reads_it_anew_every_time() {
    let server = Server::start(services).await;
    let directory = Directory::new();
    let token = directory.write("token", "first\n");
    let chain = chain(
        &server.url,
        &[
            ("ALIBABA_CLOUD_ROLE_ARN", "acs:ram::1:role/cover"),
            ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "acs:ram::1:oidc-provider/k8s"),
            ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", &token),
        ],
    );
    let credential = chain.get().await.expect("a key");
    is_temporary(&credential, "oidc");
    directory.write("token", "second");
    chain.renew(&credential).await.expect("a key");

    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        (seen[0].form("OIDCToken"), seen[1].form("OIDCToken")),
        ("first".into(), "second".into())
    );
    assert_eq!(seen[0].query("Version"), "2015-04-01");
    assert_eq!(seen[0].form("RoleArn"), "acs:ram::1:role/cover");
    assert_eq!(seen[0].form("OIDCProviderArn"), "acs:ram::1:oidc-provider/k8s");
    assert_eq!(seen[0].form("DurationSeconds"), "3600");
    assert!(!seen[0].query.contains_key("Signature") && !seen[0].query.contains_key("OIDCToken"));
}

#[tokio::test]
async fn concurrent_callers_share_one_fetch_and_one_failure() {
    let server = Server::start(|_, before| match before {
        0 => refuse(400, "AuthenticationFail.OIDCToken.Expired"),
        _ => ok(json!({"Credentials": temporary("oidc")})),
    })
    .await;
    let directory = Directory::new();
    let token = directory.write("token", "t");
    let variables = [
        ("ALIBABA_CLOUD_ROLE_ARN", "r"),
        ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "p"),
        ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", token.as_str()),
    ];
    let failing = chain(&server.url, &variables);
    let results = futures_util::future::join_all((0..20).map(|_| failing.get())).await;
    assert!(results.iter().all(Result::is_err));
    let error = results[0].as_ref().expect_err("refused").to_string();
    assert!(error.contains("AuthenticationFail.OIDCToken.Expired"), "{error}");
    assert_eq!(server.seen().len(), 1);

    let working = chain(&server.url, &variables);
    let results = futures_util::future::join_all((0..20).map(|_| working.get())).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn the_profile_of_the_cli_in_every_supported_mode() {
    let server = Server::start(services).await;
    let directory = Directory::new();
    let token = directory.write("token", "t");
    let profiles = json!({"current": "ak", "profiles": [
        {"name": "ak", "mode": "AK", "access_key_id": "cli-id", "access_key_secret": "cli-secret",
            "region_id": "cn-shanghai", "output_format": "json"},
        {"name": "sts", "mode": "StsToken", "access_key_id": "i", "access_key_secret": "s",
            "sts_token": "t"},
        {"name": "role", "mode": "RamRoleArn", "access_key_id": "i", "access_key_secret": "s",
            "ram_role_arn": "acs:ram::1:role/r", "ram_session_name": "me", "expired_seconds": 900},
        {"name": "ecs", "mode": "EcsRamRole", "ram_role_name": "my-role"},
        {"name": "oidc", "mode": "OIDC", "ram_role_arn": "r", "oidc_provider_arn": "p",
            "oidc_token_file": token},
        {"name": "sso", "mode": "CloudSSO"}]});
    directory.write(".aliyun/config.json", &profiles.to_string());
    let home = directory.0.to_str().expect("a path");
    let of = |name: &'static str| {
        let url = server.url.clone();
        async move { get(&url, &[("HOME", home), ("ALIBABA_CLOUD_PROFILE", name)]).await }
    };
    let current = get(NOWHERE, &[("HOME", home)]).await.expect("a key");
    assert_eq!(key(&current), ("cli-id".into(), "cli-secret".into(), None));
    let sts = of("sts").await.expect("a key");
    assert_eq!(key(&sts), ("i".into(), "s".into(), Some("t".into())));
    is_temporary(&of("role").await.expect("a key"), "assumed");
    let assumed = server.seen().pop().expect("a request");
    assert_eq!(assumed.query("RoleSessionName"), "me");
    assert_eq!((assumed.query("AccessKeyId"), assumed.query("Signature").len()), ("i", 28));
    is_temporary(&of("ecs").await.expect("a key"), "ecs");
    is_temporary(&of("oidc").await.expect("a key"), "oidc");
    let error = of("sso").await.expect_err("unsupported").to_string();
    assert!(error.contains("CloudSSO") && error.contains("sso"), "{error}");
}

#[tokio::test]
async fn the_credentials_file_in_every_supported_type() {
    let server = Server::start(services).await;
    let directory = Directory::new();
    let token = directory.write("token", "t");
    let file = directory.write(
        ".alibabacloud/credentials.ini",
        &format!(
            "# comment\n[default]\ntype = access_key\naccess_key_id = ini-id\n\
             access_key_secret = a\\b=c\n\n\
             [role]\ntype=ram_role_arn\naccess_key_id=i\naccess_key_secret=s\nrole_arn=r\n\
             role_session_name=n\n\
             [oidc]\ntype=oidc_role_arn\nrole_arn=r\noidc_provider_arn=p\n\
             oidc_token_file_path={token}\n\
             [ecs]\ntype=ecs_ram_role\n\
             [rsa]\ntype=rsa_key_pair\npublic_key_id=i\n"
        ),
    );
    let home = directory.0.to_str().expect("a path");
    let default = get(NOWHERE, &[("HOME", home)]).await.expect("a key");
    assert_eq!(key(&default), ("ini-id".into(), "a\\b=c".into(), None));
    let of = |name: &'static str| {
        let (url, file) = (server.url.clone(), file.clone());
        let variable = "ALIBABA_CLOUD_CREDENTIALS_FILE";
        async move { get(&url, &[(variable, &file), ("ALIBABA_CLOUD_PROFILE", name)]).await }
    };
    is_temporary(&of("role").await.expect("a key"), "assumed");
    is_temporary(&of("oidc").await.expect("a key"), "oidc");
    is_temporary(&of("ecs").await.expect("a key"), "ecs");
    let error = of("rsa").await.expect_err("unsupported").to_string();
    assert!(error.contains("rsa_key_pair") && error.contains("ram_role_arn"), "{error}");
}

#[tokio::test]
async fn the_machines_role_by_token_and_without_one_on_older_machines() {
    let server = Server::start(services).await;
    is_temporary(&get(&server.url, &[]).await.expect("a key"), "ecs");
    assert_eq!(server.seen()[0].header("x-aliyun-ecs-metadata-token-ttl-seconds"), "21600");

    let old = Server::start(|request, _| match request.path.as_str() {
        "/latest/meta-data/ram/security-credentials/" => text(200, "my-role"),
        "/latest/meta-data/ram/security-credentials/my-role" => ok(temporary("ecs")),
        _ => text(404, "not here"),
    })
    .await;
    is_temporary(&get(&old.url, &[]).await.expect("a key"), "ecs");
    let strict = [("ALIBABA_CLOUD_IMDSV1_DISABLED", "true")];
    let error = get(&old.url, &strict).await.expect_err("only the newer way").to_string();
    assert!(error.contains("metadata service"), "{error}");
    let off = [("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")];
    assert!(get(&server.url, &off).await.is_err());
}

#[tokio::test]
async fn sources_are_tried_in_the_standard_order() {
    let server = Server::start(services).await;
    let directory = Directory::new();
    let (token, uri) = (directory.write("token", "t"), format!("{}/uri", server.url));
    let home = directory.0.to_str().expect("a path");
    let profiles = json!({"current": "a", "profiles": [
        {"name": "a", "mode": "AK", "access_key_id": "cli", "access_key_secret": "s"}]});
    directory.write(".aliyun/config.json", &profiles.to_string());
    directory.write(
        ".alibabacloud/credentials.ini",
        "[default]\ntype=access_key\naccess_key_id=ini\naccess_key_secret=s\n",
    );
    // Each line takes the source away that was chosen before it.
    let mut variables = vec![
        ("HOME", home),
        ("ALIBABA_CLOUD_CREDENTIALS_URI", uri.as_str()),
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", "env"),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s"),
        ("ALIBABA_CLOUD_ROLE_ARN", "r"),
        ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "p"),
        ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", token.as_str()),
    ];
    let mut order = Vec::new();
    for (removed, added) in [
        ("", None),
        ("ALIBABA_CLOUD_ACCESS_KEY_", None),
        ("ALIBABA_CLOUD_ROLE_ARN", None),
        ("", Some(("ALIBABA_CLOUD_CLI_PROFILE_DISABLED", "true"))),
        ("HOME", None),
        ("", Some(("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true"))),
    ] {
        variables.retain(|(name, _)| removed.is_empty() || !name.starts_with(removed));
        variables.extend(added);
        order.push(get(&server.url, &variables).await.expect("a key").access_key_id.clone());
    }
    assert_eq!(order, ["env", "oidc", "cli", "ini", "ecs", "uri"]);
}

#[tokio::test]
async fn a_source_that_is_configured_and_fails_is_not_passed_over() {
    let server = Server::start(|request, before| match request.query("Action") {
        "AssumeRoleWithOIDC" => refuse(400, "AuthenticationFail.OIDCToken.Invalid"),
        _ => services(request, before),
    })
    .await;
    let directory = Directory::new();
    let variables = [
        ("ALIBABA_CLOUD_ROLE_ARN", "r"),
        ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "p"),
        ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", &directory.write("token", "t")),
    ];
    let error = get(&server.url, &variables).await.expect_err("refused");
    assert!(matches!(&*error, Error::Refused { status: 400, .. }), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn no_secret_is_ever_printed() {
    let variables = [
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", "id"),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "topsecret"),
        ("ALIBABA_CLOUD_SECURITY_TOKEN", "toptoken"),
    ];
    let chain = chain(NOWHERE, &variables);
    let credential = chain.get().await.expect("a key");
    let printed = format!("{chain:?} {credential:?}");
    assert!(!printed.contains("topsecret") && !printed.contains("toptoken"), "{printed}");
}
