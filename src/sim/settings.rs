//! What can be chosen about a simulator before it starts.

use std::time::Duration;

use super::callback::Callback;
use super::fault::Fault;
use super::smq;

/// What a simulator is like. By default 100 videos with VOD's default cover, quotas enforced, no
/// latency, no faults, no callbacks, and the key of the published examples.
#[derive(Clone)]
pub struct Settings {
    pub videos: u32,
    /// Videos, pictures, duplicates, order of events and luck of faults follow from it.
    pub seed: u64,
    /// Whether the account's quotas are enforced.
    pub qps: bool,
    /// Multiplies all quotas, for an account whose limits were raised or lowered.
    pub quota_scale: f64,
    /// Added to every call, before it takes effect.
    pub latency: Duration,
    pub faults: Vec<Fault>,
    pub access_key_id: String,
    pub access_key_secret: String,
    /// Makes the key an STS key: calls must carry this token.
    pub security_token: Option<String>,
    pub callback: Option<Callback>,
    /// A queue of SMQ, at the same address, into which events are put.
    pub smq: Option<smq::Settings>,
    /// Whether VOD has made the middle snapshot the cover already. Without, the first update of each
    /// video changes its cover, whichever picture it is.
    pub default_covers: bool,
    /// Sends the SnapshotComplete of cover and sprite snapshots apart.
    pub separate_events: bool,
    /// Whether a change in the console causes a MediaBaseChangeComplete, as one through the API does.
    /// The documentation leaves that open.
    pub console_events: bool,
    /// How long a job for smart thumbnails takes.
    pub ai_job_takes: Duration,
    /// AI templates: TemplateId, and whether VOD itself makes the best thumbnail the cover.
    pub ai_templates: Vec<(String, bool)>,
    /// Turns URL signing on: pictures need an auth_key made with this key, and answers carry it.
    pub url_key: Option<String>,
    /// Allows an address other than loopback. Everybody who reaches it can use the control plane.
    pub public: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            videos: 100,
            seed: 1,
            qps: true,
            quota_scale: 1.0,
            latency: Duration::ZERO,
            faults: Vec::new(),
            access_key_id: "testid".to_owned(),
            access_key_secret: "testsecret".to_owned(),
            security_token: None,
            callback: None,
            smq: None,
            default_covers: true,
            separate_events: false,
            console_events: true,
            ai_job_takes: Duration::ZERO,
            ai_templates: [("tpl-smart", false), ("tpl-sets-cover", true)]
                .map(|(id, sets_cover)| (id.to_owned(), sets_cover))
                .to_vec(),
            url_key: None,
            public: false,
        }
    }
}
