//! The gateway's own certificate, and a new one while it runs.

use std::fs;
use std::path::Path;

use super::*;
use crate::redis_ledger::make_certificates;

/// A client that trusts one authority only.
fn trusting(authority: &Path) -> reqwest::Client {
    vod_cover::tls::install();
    let certificate = reqwest::Certificate::from_pem(&fs::read(authority).unwrap()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([certificate]).no_proxy();
    client.timeout(Duration::from_secs(5)).build().unwrap()
}

async fn post_by(client: &reqwest::Client, program: &Program) -> u16 {
    let (url, at) = (format!("https://{}/callback", program.intake), now().to_string());
    let signature = signature(&url, &at, CALLBACK_KEY);
    let request = client.post(url).body(event(1, 1)).header("X-VOD-TIMESTAMP", at);
    status(request.header("X-VOD-SIGNATURE", signature)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_without_losing_a_connection() {
    let mut world = world(NOWHERE).await;
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [old_authority, old_cert, old_key] = make_certificates(old.path());
    let [new_authority, new_cert, new_key] = make_certificates(new.path());
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| world.directory.path().join(name));
    fs::copy(&old_cert, &cert).unwrap();
    fs::copy(&old_key, &key).unwrap();
    world.set("VOD_COVER__INTAKE__TLS__CERT_FILE", cert.to_str().unwrap());
    world.set("VOD_COVER__INTAKE__TLS__KEY_FILE", key.to_str().unwrap());
    let program = gateway(&world, &[]).await;

    let kept = trusting(&old_authority);
    assert_eq!(post_by(&kept, &program).await, 200);
    assert_eq!(post_by(&trusting(&new_authority), &program).await, 0, "not that one");

    // Of the one, and not yet of the other: what was there stays.
    fs::copy(&new_cert, &cert).unwrap();
    eventually("it says so", SOON, async || program.log().contains("stays as it was")).await;
    assert_eq!(post_by(&trusting(&old_authority), &program).await, 200);

    fs::copy(&new_key, &key).unwrap();
    let taken = async || post_by(&trusting(&new_authority), &program).await == 200;
    eventually("the new one is taken", SOON, taken).await;
    assert_eq!(post_by(&trusting(&old_authority), &program).await, 0);
    assert_eq!(post_by(&kept, &program).await, 200, "on the connection that it has");

    fs::write(&cert, "no certificate").unwrap();
    let said = async || program.log().matches("stays as it was").count() == 2;
    eventually("it says so again", SOON, said).await;
    assert_eq!(post_by(&trusting(&new_authority), &program).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_on_a_port_of_tls_is_no_crash() {
    let mut world = world(NOWHERE).await;
    let directory = tempfile::tempdir().unwrap();
    let [authority, cert, key] = make_certificates(directory.path());
    world.set("VOD_COVER__INTAKE__TLS__CERT_FILE", cert.to_str().unwrap());
    world.set("VOD_COVER__INTAKE__TLS__KEY_FILE", key.to_str().unwrap());
    let program = gateway(&world, &[]).await;
    assert_eq!(post(&program, event(1, 1)).await, 0);
    assert_eq!(post_by(&trusting(&authority), &program).await, 200);
}
