//! What can go wrong with a call, and what it calls for. VOD's codes are classified one by one, without
//! regard to case, because the HTTP status of one code differs between Alibaba's own pages.
//!
//! Documentation:
//! <https://www.alibabacloud.com/help/en/vod/developer-reference/error-codes>

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Class, Dependency, Failure, Reason};
use crate::event::VideoId;
use crate::vod::credentials;
use crate::vod::quota::LONGEST_WAIT;

/// The one operation that is not VOD's.
pub(super) const PUT_OBJECT: &str = "PutObject";
/// How long to stay away after a throttling answer that does not say.
pub const THROTTLED: Duration = Duration::from_secs(1);
/// Longest time that a server is believed when it asks to be left alone.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Where the exchange with VOD broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// No connection came about (refused, unknown host, TLS): nothing was sent.
    Connect,
    /// Nothing, or not everything, came back in time.
    Timeout,
    /// The connection ended in between.
    Lost,
}

/// Why a call failed. `ambiguous` says that the call may have had its effect all the same. Callers whose
/// calls were joined into one get a copy each.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("{operation}: {}", broke(operation, *how))]
    Transport {
        operation: &'static str,
        how: Break,
        ambiguous: bool,
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// VOD refused, with a code.
    #[error(
        "{operation}: VOD answered {code} (status {status}, request {request_id}): {message}{}",
        hint(code)
    )]
    Api {
        operation: &'static str,
        code: String,
        /// VOD's words, cut short, without the text that it signed.
        message: String,
        status: u16,
        /// What Alibaba's support asks for.
        request_id: String,
        retry_after: Option<Duration>,
        ambiguous: bool,
    },
    /// OSS refused an upload, with a code.
    #[error(
        "{PUT_OBJECT}: OSS answered {code} (status {status}, request {request_id}): {message}{}",
        oss_hint(code)
    )]
    Oss { code: String, message: String, status: u16, request_id: String },
    /// What came back is not what VOD would say: often the words of a proxy.
    #[error("{operation}: the answer (status {status}) is not {}'s: {why}", who(operation))]
    Reply {
        operation: &'static str,
        status: u16,
        why: String,
        retry_after: Option<Duration>,
        ambiguous: bool,
    },
    #[error("{operation}: there is no access key to sign with")]
    Credentials {
        operation: &'static str,
        #[source]
        source: Arc<credentials::Error>,
    },
    /// The task that made the call ended early: a panic, or the program ends.
    #[error("{operation}: the call was lost before its answer came")]
    Lost { operation: &'static str },
    /// Our own pacing; the call was not made.
    #[error("{operation}: the next call within the quota is due in {after:?}")]
    Paced { operation: &'static str, after: Duration },
    /// One video of several, which came back in NonExistVideoIds.
    #[error("{operation}: VOD has no video {video}")]
    NoSuchVideo { operation: &'static str, video: VideoId },
    /// One video of several, which came back in ForbiddenVideoIds.
    #[error(
        "{operation}: the access key may not change video {video}; it belongs to an application \
         that the key has no permission for"
    )]
    ForbiddenVideo { operation: &'static str, video: VideoId },
    /// Too many videos or jobs for one call. A mistake of the caller.
    #[error("{operation}: {count} at once, but one call takes at most {most}")]
    TooMany { operation: &'static str, count: usize, most: usize },
    /// A list that had to be sent in several calls: earlier ones have succeeded.
    #[error("{operation}: the first {done} of {count} videos were dealt with")]
    Partly {
        operation: &'static str,
        done: usize,
        count: usize,
        #[source]
        source: Box<Error>,
    },
}

impl Error {
    pub fn class(&self) -> Class {
        match self {
            Self::Transport { .. } | Self::Lost { .. } => Class::Transient,
            Self::Api { code, status, retry_after, .. } => of_code(code, *status, *retry_after),
            Self::Oss { code, status, .. } => of_oss_code(code, *status),
            Self::Reply { status, retry_after, .. } => of_status(*status, *retry_after),
            Self::Credentials { .. } => Class::Misconfigured,
            Self::Paced { after, .. } => Class::Deferred { after: *after },
            Self::NoSuchVideo { .. } | Self::ForbiddenVideo { .. } | Self::TooMany { .. } => {
                Class::Permanent
            }
            Self::Partly { source, .. } => source.class(),
        }
    }

    /// Whether the effect may have happened although the call failed.
    pub fn ambiguous(&self) -> bool {
        match self {
            Self::Transport { ambiguous, .. }
            | Self::Api { ambiguous, .. }
            | Self::Reply { ambiguous, .. } => *ambiguous,
            Self::Partly { .. } | Self::Lost { .. } => true,
            _ => false,
        }
    }

    pub fn reason(&self) -> Reason {
        match self {
            Self::Transport { how: Break::Connect, .. } => Reason::new("vod.connect"),
            Self::Transport { how: Break::Timeout, .. } => Reason::new("vod.timeout"),
            Self::Transport { how: Break::Lost, .. } => Reason::new("vod.connection-lost"),
            Self::Api { code, .. } => Reason::foreign("vod", code),
            Self::Oss { code, .. } => Reason::foreign("oss", code),
            Self::Reply { status: 200, .. } => Reason::new("vod.reply"),
            Self::Reply { status, .. } => Reason::foreign("vod.http", &status.to_string()),
            Self::Credentials { .. } => Reason::new("vod.credentials"),
            Self::Lost { .. } => Reason::new("vod.lost"),
            Self::Paced { .. } => Reason::new("vod.paced"),
            Self::NoSuchVideo { .. } => Reason::new("vod.InvalidVideo.NotFound"),
            Self::ForbiddenVideo { .. } => Reason::new("vod.forbidden-video"),
            Self::TooMany { .. } => Reason::new("vod.too-many"),
            Self::Partly { source, .. } => source.reason(),
        }
    }

    /// Whether VOD as a whole cannot be used, which no event is to blame for.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Transport { how, .. } => *how == Break::Connect,
            Self::Partly { source, .. } => source.is_outage(),
            _ if self.class() == Class::Misconfigured => true,
            // Not just many callers at once: VOD asked to be left alone for so long.
            Self::Paced { after, .. } => *after > 2 * LONGEST_WAIT,
            Self::Api { code, status, .. } => {
                (*status == 503 || code.eq_ignore_ascii_case("ServiceUnavailable"))
                    && self.class() == Class::Transient
            }
            Self::Reply { status, .. } => *status == 503,
            _ => false,
        }
    }

    /// Whether VOD knows us and the video, and merely does not offer this operation to us: it was not
    /// applied for, does not exist in this region, or is not granted. How VOD words that is not
    /// documented, so every code counts that blames neither the key nor the video nor the template nor the
    /// moment.
    pub fn is_operation_not_offered(&self) -> bool {
        let Self::Api { code, .. } = self else { return false };
        let code = code.to_ascii_lowercase();
        let refusals = [
            "forbidden",
            "forbidden.ram",
            "operationdenied",
            "invalidapi.notfound",
            "unsupportedoperation",
        ];
        let of_what_is_asked = code == "invalidvideo.notfound"
            || code.starts_with("invalidtemplate")
            || code.starts_with("invalidaitemplate");
        refusals.contains(&code.as_str()) || (self.class() == Class::Permanent && !of_what_is_asked)
    }

    /// Whether VOD knows the key and the operation, and refuses this one request.
    pub(super) fn is_about_the_request(&self) -> bool {
        matches!(self, Self::Api { .. })
            && (self.class() == Class::Permanent || self.is_code("Forbidden.IllegalStatus"))
    }

    pub(super) fn is_code(&self, wanted: &str) -> bool {
        matches!(self, Self::Api { code, .. } if code.eq_ignore_ascii_case(wanted))
    }

    /// The temporary key of an upload was refused, which expires under either code.
    pub(super) fn is_about_the_ticket(&self) -> bool {
        matches!(self, Self::Oss { code, .. }
            if code == "SecurityTokenExpired" || code == "InvalidAccessKeyId")
    }

    /// The key itself was refused: it may have been replaced or have expired meanwhile.
    pub(super) fn is_about_the_key(&self) -> bool {
        let Self::Api { code, .. } = self else { return false };
        let code = code.to_ascii_lowercase();
        code.starts_with("invalidaccesskeyid")
            || code.starts_with("invalidsecuritytoken")
            || matches!(code.as_str(), "signaturedoesnotmatch" | "missingsecuritytoken")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let outage = error.is_outage();
        let failure = Self::new(error.class(), error.reason(), error);
        if outage { failure.outage_of(Dependency::Vod) } else { failure }
    }
}

/// By code; the status decides only where the code is not known.
fn of_code(code: &str, status: u16, retry_after: Option<Duration>) -> Class {
    let code = code.to_ascii_lowercase();
    match code.as_str() {
        "internalerror" | "serviceunavailable" => Class::Transient,
        // Each attempt has its own nonce, so this is a copy that something on the way has made.
        "signaturenonceused" => Class::Transient,
        // The video is in a state that passes, such as uploading.
        "forbidden.illegalstatus" => Class::Transient,

        // RAM knows only the resource `*` for these operations, so this concerns every video. A video of
        // another application comes in ForbiddenVideoIds; see `Client::update_video_info`.
        "forbidden" | "forbidden.ram" => Class::Misconfigured,
        // VOD not opened, or the bill not paid.
        "operationdenied" | "operationdenied.suspended" => Class::Misconfigured,
        "signaturedoesnotmatch" | "incompletesignature" | "invalidsignaturemethod" => {
            Class::Misconfigured
        }
        // The clock of this machine; the client has signed anew once already.
        "invalidtimestamp.expired" | "invalidtimestamp.format" => Class::Misconfigured,
        "missingsecuritytoken" | "missingaccesskeyid" => Class::Misconfigured,
        // What answers is not this API: the endpoint is wrong.
        "invalidapi.notfound"
        | "unsupportedoperation"
        | "nosuchversion"
        | "unsupportedhttpmethod" => Class::Misconfigured,

        // Events come after the upload, so the video has existed: it was deleted meanwhile.
        "invalidvideo.notfound" | "nosuchresource" | "countexceededmax" => Class::Permanent,

        _ if code == "throttling" || code.starts_with("throttling.") => deferred(retry_after),
        _ if code.starts_with("invalidaccesskeyid") => Class::Misconfigured,
        _ if code.starts_with("invalidsecuritytoken") => Class::Misconfigured,
        _ if status == 429 => deferred(retry_after),
        // In words that are not documented, but a refusal of the key all the same.
        _ if status == 401 || status == 403 => Class::Misconfigured,
        _ if status >= 500 => Class::Transient,
        _ => Class::Permanent,
    }
}

/// <https://www.alibabacloud.com/help/en/oss/user-guide/http-status-codes>
fn of_oss_code(code: &str, status: u16) -> Class {
    match code {
        // The body was damaged on its way.
        "InvalidDigest" | "BadDigest" | "RequestTimeout" => Class::Transient,
        _ if status == 401 || status == 403 => Class::Misconfigured,
        _ => of_status(status, None),
    }
}

/// An answer without a code, which something between us and VOD has given.
fn of_status(status: u16, retry_after: Option<Duration>) -> Class {
    match status {
        429 => deferred(retry_after),
        // A redirection is not followed: VOD makes none, so the endpoint is wrong. VOD words its own
        // refusals in JSON, so these are a proxy's, and it refuses every call alike.
        300..=399 | 401 | 403 | 404 | 407 => Class::Misconfigured,
        408 | 425 => Class::Transient,
        400..=499 => Class::Permanent,
        _ => Class::Transient,
    }
}

fn deferred(retry_after: Option<Duration>) -> Class {
    let after = retry_after.unwrap_or(THROTTLED);
    Class::Deferred { after: after.clamp(Duration::from_millis(10), LONGEST_RETRY_AFTER) }
}

fn who(operation: &str) -> &'static str {
    if operation == PUT_OBJECT { "OSS" } else { "VOD" }
}

fn broke(operation: &str, how: Break) -> String {
    let who = who(operation);
    match how {
        Break::Connect if operation == PUT_OBJECT => {
            "no connection to OSS; check vod.oss_endpoint and the network".to_owned()
        }
        Break::Connect => {
            "no connection to VOD; check vod.endpoint, vod.region and the network".to_owned()
        }
        Break::Timeout => format!("{who} did not answer in time"),
        Break::Lost => format!("the connection to {who} was lost"),
    }
}

fn oss_hint(code: &str) -> &'static str {
    match code {
        "SignatureDoesNotMatch" => "; check vod.region",
        "RequestTimeTooSkewed" => {
            "; the clock of this machine is off by more than 15 minutes, synchronise it"
        }
        _ => "",
    }
}

/// What an operator can do about a code.
fn hint(code: &str) -> &'static str {
    let code = code.to_ascii_lowercase();
    match code.as_str() {
        "signaturedoesnotmatch" => "; check the access key secret",
        "invalidtimestamp.expired" => {
            "; the clock of this machine is off by more than 15 minutes, synchronise it"
        }
        "forbidden" | "forbidden.ram" => {
            "; grant the RAM user or role vod:UpdateVideoInfo, vod:UpdateVideoInfos, \
             vod:GetVideoInfo, vod:GetVideoInfos, vod:ListSnapshots and vod:ListAIImageInfo, and for \
             uploads vod:CreateUploadImage; deploy/ram-policy.json lists what everything needs"
        }
        "operationdenied" => "; open ApsaraVideo VOD for this account",
        "operationdenied.suspended" => "; the account is in arrears",
        "invalidapi.notfound" | "unsupportedoperation" | "nosuchversion" => {
            "; check vod.endpoint and vod.region"
        }
        _ if code.starts_with("invalidaccesskeyid") => {
            "; check that the access key exists and is active"
        }
        _ if code.starts_with("invalidsecuritytoken") => {
            "; the temporary key has expired or its token is wrong"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: &str, status: u16) -> Error {
        Error::Api {
            operation: "UpdateVideoInfo",
            code: code.to_owned(),
            message: "words".to_owned(),
            status,
            request_id: "1".to_owned(),
            retry_after: None,
            ambiguous: status >= 500,
        }
    }

    #[test]
    fn every_documented_code_has_its_class() {
        use Class::{Deferred, Misconfigured, Permanent, Transient};
        let deferred = Deferred { after: THROTTLED };
        for (code, status, class, outage) in [
            ("MissingParameter", 400, Permanent, false),
            ("MissingVideoId", 400, Permanent, false),
            ("InvalidParameter", 400, Permanent, false),
            ("InvalidCoverURL", 400, Permanent, false),
            ("CountExceededMax", 400, Permanent, false),
            ("InvalidVideo.NotFound", 404, Permanent, false),
            ("NoSuchResource", 404, Permanent, false),
            ("Forbidden.IllegalStatus", 400, Transient, false),
            ("Forbidden", 403, Misconfigured, true),
            ("Forbidden.RAM", 403, Misconfigured, true),
            ("OperationDenied", 403, Misconfigured, true),
            ("OperationDenied.Suspended", 403, Misconfigured, true),
            ("SignatureDoesNotMatch", 400, Misconfigured, true),
            ("SignatureDoesNotMatch", 403, Misconfigured, true),
            ("IncompleteSignature", 400, Misconfigured, true),
            ("InvalidSignatureMethod", 400, Misconfigured, true),
            ("InvalidTimeStamp.Format", 400, Misconfigured, true),
            ("InvalidTimeStamp.Expired", 400, Misconfigured, true),
            ("SignatureNonceUsed", 400, Transient, false),
            ("InvalidAccessKeyId.NotFound", 404, Misconfigured, true),
            ("InvalidAccessKeyId.Inactive", 400, Misconfigured, true),
            ("InvalidSecurityToken.Expired", 400, Misconfigured, true),
            ("InvalidSecurityToken.Malformed", 403, Misconfigured, true),
            ("Throttling", 400, deferred, false),
            ("Throttling.User", 429, deferred, false),
            ("Throttling.Api", 503, deferred, false),
            ("InternalError", 500, Transient, false),
            ("ServiceUnAvailable", 503, Transient, true),
            ("serviceunavailable", 503, Transient, true),
            ("InvalidApi.NotFound", 404, Misconfigured, true),
            ("UnsupportedOperation", 400, Misconfigured, true),
            ("NoSuchVersion", 400, Misconfigured, true),
            ("UnsupportedHTTPMethod", 400, Misconfigured, true),
            ("Whatever.IsNew", 400, Permanent, false),
            ("Whatever.IsNew", 418, Permanent, false),
            ("Whatever.IsNew", 500, Transient, false),
            ("Whatever.IsNew", 429, deferred, false),
        ] {
            for code in [code.to_owned(), code.to_uppercase(), code.to_lowercase()] {
                let failure = Failure::from(api(&code, status));
                assert_eq!(failure.class, class, "{code}");
                assert_eq!(failure.outage.is_some(), outage, "{code}");
                assert_eq!(failure.reason.as_str(), format!("vod.{code}"));
            }
        }
    }

    #[test]
    fn without_a_code_the_status_decides() {
        let class = |status| {
            let why = "an HTML page".to_owned();
            let operation = "GetVideoInfo";
            Error::Reply { operation, status, why, retry_after: None, ambiguous: false }.class()
        };
        assert_eq!(class(502), Class::Transient);
        assert_eq!(class(200), Class::Transient);
        assert_eq!(class(301), Class::Misconfigured);
        assert_eq!(class(403), Class::Misconfigured);
        assert_eq!(class(407), Class::Misconfigured);
        assert_eq!(class(414), Class::Permanent);
        assert_eq!(class(429), Class::Deferred { after: THROTTLED });
    }

    #[test]
    fn a_server_that_asks_for_a_day_is_believed_for_minutes() {
        let day = Some(Duration::from_secs(86_400));
        let class = of_code("Throttling.User", 400, day);
        assert_eq!(class, Class::Deferred { after: LONGEST_RETRY_AFTER });
    }

    #[test]
    fn an_error_of_a_part_has_the_class_of_its_cause_and_is_ambiguous() {
        let source = Box::new(api("Forbidden", 403));
        let error = Error::Partly { operation: "UpdateVideoInfos", done: 7, count: 20, source };
        assert!(error.ambiguous() && error.is_outage());
        assert_eq!(error.class(), Class::Misconfigured);
    }
}
