use super::*;

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vod-cover.toml");
    std::fs::write(&path, file).unwrap();
    let environment =
        environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Settings::load(Some(&path), &environment).map_err(|error| crate::error::chain(&error))
}

#[test]
fn the_defaults_are_valid_and_need_nothing_installed() {
    let settings = Settings::load(None, &HashMap::new()).unwrap();
    assert_eq!(settings.queue.kind, QueueKind::Embedded);
    assert_eq!(settings.ledger.kind, LedgerKind::Embedded);
}

#[test]
fn the_examples_are_valid() {
    let urls = [("AMQP_URL", "amqp://h"), ("REDIS_URL", "redis://h")];
    for file in [
        include_str!("../../config/production.toml"),
        include_str!("../../config/apsaramq.toml"),
        include_str!("../../config/demo.toml"),
    ] {
        load(file, &urls).unwrap();
    }
}

#[test]
fn two_variables_switch_to_rabbitmq_and_redis() {
    let urls = [("AMQP_URL", "amqp://h"), ("REDIS_URL", "redis://h")];
    let settings = load("", &urls).unwrap();
    assert_eq!(settings.queue.kind, QueueKind::Rabbitmq);
    assert_eq!(settings.ledger.kind, LedgerKind::Redis);
    let kept = [urls[0], ("VOD_COVER__QUEUE__KIND", "embedded")];
    assert_eq!(load("", &kept).unwrap().queue.kind, QueueKind::Embedded);
}

#[test]
fn a_variable_overrules_the_file_and_the_file_the_defaults() {
    let file =
        "[queue.rabbitmq]\nprefetch = 7\nqueue = 'mine'\n[cover]\nrules = ['first', 'nth=2']";
    let settings = load(file, &[("VOD_COVER__QUEUE__RABBITMQ__PREFETCH", "9")]).unwrap();
    assert_eq!(settings.queue.rabbitmq.prefetch, 9);
    assert_eq!(settings.queue.rabbitmq.queue, "mine");
    assert_eq!(settings.cover.rules.len(), 2);
    let list = load("", &[("VOD_COVER__COVER__RULES", "last, at=0.5,keep")]).unwrap();
    let rules: Vec<_> = list.cover.rules.iter().map(ToString::to_string).collect();
    assert_eq!(rules, ["last", "at=0.5", "keep"]);
}

#[test]
fn lists_of_fetch_come_from_variables_and_an_empty_variable_is_an_empty_list() {
    let environment = [
        ("VOD_COVER__FETCH__HOSTS", "img.example.com,127.0.0.1:8800"),
        ("VOD_COVER__FETCH__ALLOW_NETWORKS", ""),
        ("VOD_COVER__FETCH__URL_SIGNING__TYPE", "c-query"),
    ];
    let settings = load("", &environment).unwrap().fetch;
    let hosts: Vec<_> = settings.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["img.example.com", "127.0.0.1:8800"]);
    assert!(settings.allow_networks.is_empty());
    assert_eq!(settings.url_signing.kind.map(|kind| kind.to_string()).unwrap(), "C (query)");
}

#[test]
fn the_share_of_walks_is_part_of_the_fleets_budget_and_comes_on_top_of_one_process() {
    let shares = "[vod]\nquota_share = 0.9\n[backfill]\nquota_share = 0.2\n";
    let one = load(shares, &[]).unwrap();
    assert!(one.check_shares().unwrap_err().to_string().contains("backfill.quota_share"));
    let fleet = load(shares, &[("REDIS_URL", "redis://redis")]).unwrap();
    assert!(fleet.check_shares().is_ok());
    let none = load("[backfill]\nquota_share = 0.0\n", &[("REDIS_URL", "redis://redis")]).unwrap();
    assert!(none.check_shares().is_err());
}

#[test]
fn what_is_wrong_is_named() {
    for (file, named) in [
        ("[cover]\nrulez = []", "rulez"),
        ("[cover]\nrules = ['best-of-all']", "best-of-all"),
        ("[cover]\nrules = []", "no rules"),
        ("[cover]\nrules = ['keep', 'first']", "keep"),
        ("[[cover.override]]\nrules = ['first']", "override 1"),
        ("[queue]\nkind = 'kafka'", "kafka"),
        ("[queue.rabbitmq]\nretry_tiers = ['5 bananas']", "queue.rabbitmq.retry_tiers[0]"),
        ("[queue.embedded]\nin_flight = 0", "in_flight"),
        ("[queue.embedded]\nretry = ['10s', '5s']", "retry"),
        ("[ledger]\nlease = '1s'", "ledger.lease"),
        ("[ledger]\nlease = '27s'", "fetch.timeout"),
        ("[cover]\nrules = ['best', 'least-bad']", "least-bad"),
        ("[cover]\nmost_pictures = 0", "most_pictures"),
        ("[fetch]\nhosts = ['*']", "\"*\" is no host"),
        ("[fetch]\nallow_networks = ['lan']", "\"lan\" is no network"),
        ("[fetch.url_signing]\ntype = 'd'", "`d`"),
        ("[fetch.url_signing]\nkey = 'k'", "unknown field `key`"),
        ("no toml", "toml"),
    ] {
        let error = load(file, &[]).map(|_| ()).unwrap_err();
        assert!(error.contains(named), "{file}: {error}");
    }
    assert!(
        load("", &[("VOD_COVER__VOD__REGIO", "x")]).is_err_and(|error| error.contains("regio"))
    );
}

#[test]
fn the_effective_configuration_shows_no_secret() {
    let environment = HashMap::from([("AMQP_URL".into(), "amqp://u:hunter2@h/v".into())]);
    let text = effective(None, &environment).unwrap();
    assert!(text.contains("u:***@h/v") && !text.contains("hunter2"), "{text}");
}
