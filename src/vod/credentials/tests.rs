//! The cache, with the passing of time put into it. The sources are tested over HTTP in
//! `tests/it/vod_client/credentials.rs`.

use super::*;

const NEW: [(&str, &str); 2] =
    [("ALIBABA_CLOUD_ACCESS_KEY_ID", "new"), ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s")];
/// A source that fails.
const BROKEN: [(&str, &str); 2] =
    [("ALIBABA_CLOUD_ACCESS_KEY_ID_FILE", "/nowhere/id"), ("NOTHING", "else")];

/// A chain that holds an old key, which expires after `left` and should be fetched anew by now.
fn chain(variables: [(&str, &str); 2], left: SignedDuration) -> Credentials {
    let settings = Settings {
        access_key_id_file: PathBuf::new(),
        access_key_secret_file: PathBuf::new(),
        security_token_file: PathBuf::new(),
        metadata_endpoint: "http://127.0.0.1:9".to_owned(),
        sts_endpoint: String::new(),
    };
    let chain = Credentials::new(&settings, Environment::of(variables));
    let old = Credential {
        access_key_id: "old".to_owned(),
        access_key_secret: "s".into(),
        security_token: None,
        expiration: Some(Timestamp::now() + left),
        source: "a test".to_owned(),
    };
    chain.keep(Cached::new(Arc::new(old), Found::default(), Some(Timestamp::now())));
    chain
}

async fn id(chain: &Credentials) -> Result<String, Arc<Error>> {
    chain.get().await.map(|credential| credential.access_key_id.clone())
}

#[tokio::test]
async fn a_key_is_fetched_anew_before_it_expires() {
    let chain = chain(NEW, SignedDuration::from_mins(10));
    assert_eq!(id(&chain).await.ok().as_deref(), Some("new"));
}

#[tokio::test]
async fn a_failed_renewal_keeps_a_key_that_is_still_valid() {
    let chain = chain(BROKEN, SignedDuration::from_mins(10));
    assert_eq!(id(&chain).await.ok().as_deref(), Some("old"));
    // And is not repeated at once.
    let renew_at = chain.cached().and_then(|cached| cached.renew_at);
    assert!(renew_at.is_some_and(|at| at > Timestamp::now() + SignedDuration::from_secs(10)));
}

#[tokio::test]
async fn an_expired_key_is_not_kept() {
    let expired = SignedDuration::from_secs(-1);
    assert_eq!(id(&chain(NEW, expired)).await.ok().as_deref(), Some("new"));
    let error = id(&chain(BROKEN, expired)).await.expect_err("no key");
    assert!(matches!(&*error, Error::Unreadable { .. }), "{error}");
}

#[tokio::test]
async fn callers_do_not_wait_for_a_renewal_while_the_old_key_is_valid() {
    let chain = chain(NEW, SignedDuration::from_mins(10));
    let renewal = chain.fetching.lock().await;
    assert_eq!(id(&chain).await.ok().as_deref(), Some("old"));
    drop(renewal);
    assert_eq!(id(&chain).await.ok().as_deref(), Some("new"));
}

#[tokio::test]
async fn a_changed_file_is_noticed() {
    let path = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
    std::fs::write(&path, "first").expect("a file");
    let name = path.to_str().expect("a path").to_owned();
    let variables =
        [("ALIBABA_CLOUD_ACCESS_KEY_ID_FILE", &*name), ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s")];
    let chain = chain(variables, SignedDuration::from_secs(-1));
    assert_eq!(id(&chain).await.ok().as_deref(), Some("first"));

    std::fs::write(&path, "the second").expect("a file");
    let cached = chain.cached().expect("a key");
    let before = Instant::now().checked_sub(2 * GLANCE).expect("a machine up for seconds");
    *cached.looked_at.lock().expect("looked at") = before;
    assert_eq!(id(&chain).await.ok().as_deref(), Some("the second"));
    std::fs::remove_file(&path).expect("removed");
}
