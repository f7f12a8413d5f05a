//! Misbehaviour on demand. Each fault hits a part of the calls, by chance that follows from the seed,
//! after the signature and the quota were checked.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use super::api::Operation;

/// One fault, written `[OPERATION:]KIND[=PART][:DURATION][:xCOUNT]`: `error-5xx=0.1`,
/// `UpdateVideoInfo:slow=0.5:3s`, `timeout-after-apply:x1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub kind: Kind,
    /// Hits calls of this operation only.
    pub operation: Option<Operation>,
    /// Which part of the calls it hits: 0.0 to 1.0.
    pub part: f64,
    /// For `slow`, `timeout` and `timeout-after-apply` how long, for `throttle` what
    /// `x-acs-retry-after` says.
    pub duration: Option<Duration>,
    /// Hits this often and then no more.
    pub count: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// 500 InternalError, 503 ServiceUnAvailable, or a gateway's 502 or 504 in HTML; not applied.
    #[serde(rename = "error-5xx")]
    Error5xx,
    /// 503 ServiceUnAvailable; not applied.
    Unavailable,
    /// Throttling.User, whatever the quota says; not applied.
    Throttle,
    /// Applied, but only after the delay (3 s unless given), even if the client has left by then.
    Slow,
    /// Not applied, and no answer for the given time (60 s); then the connection is reset.
    Timeout,
    /// Applied at once, and then as with `timeout`.
    TimeoutAfterApply,
    /// Not applied; the connection is reset.
    Reset,
    /// Applied; the connection is reset.
    ResetAfterApply,
    /// Applied, but the answer is HTTP 200 with a page of HTML.
    Garbage,
    /// Forbidden.RAM: the key has no permission.
    Forbidden,
    /// OperationDenied.Suspended: the account is in arrears.
    Suspended,
    /// InvalidSecurityToken.Expired.
    TokenExpired,
    /// InvalidVideo.NotFound, as may be right after an upload.
    NotFound,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::Error5xx,
        Self::Unavailable,
        Self::Throttle,
        Self::Slow,
        Self::Timeout,
        Self::TimeoutAfterApply,
        Self::Reset,
        Self::ResetAfterApply,
        Self::Garbage,
        Self::Forbidden,
        Self::Suspended,
        Self::TokenExpired,
        Self::NotFound,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Error5xx => "error-5xx",
            Self::Unavailable => "unavailable",
            Self::Throttle => "throttle",
            Self::Slow => "slow",
            Self::Timeout => "timeout",
            Self::TimeoutAfterApply => "timeout-after-apply",
            Self::Reset => "reset",
            Self::ResetAfterApply => "reset-after-apply",
            Self::Garbage => "garbage",
            Self::Forbidden => "forbidden",
            Self::Suspended => "suspended",
            Self::TokenExpired => "token-expired",
            Self::NotFound => "not-found",
        }
    }
}

impl Fault {
    /// A fault that hits every call.
    pub fn always(kind: Kind) -> Self {
        Self { kind, operation: None, part: 1.0, duration: None, count: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operation) = self.operation {
            write!(f, "{}:", operation.name())?;
        }
        write!(f, "{}={}", self.kind.name(), self.part)?;
        if let Some(duration) = self.duration {
            write!(f, ":{}ms", duration.as_millis())?;
        }
        self.count.map_or(Ok(()), |count| write!(f, ":x{count}"))
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{text:?} is no fault: {why}; write [OPERATION:]KIND[=PART][:DURATION][:xCOUNT], for example \
     error-5xx=0.1, UpdateVideoInfo:slow=0.5:3s or reset:x10, where KIND is one of {}",
    Kind::ALL.map(Kind::name).join(", ")
)]
pub struct BadFault {
    text: String,
    why: &'static str,
}

impl FromStr for Fault {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        let bad = |why| BadFault { text: text.to_owned(), why };
        let mut pieces = text.trim().split(':').peekable();
        // Operations start with a capital letter, kinds do not.
        let first = pieces.next_if(|piece| piece.starts_with(|c: char| c.is_ascii_uppercase()));
        let operation = first
            .map(|name| Operation::named(name).ok_or_else(|| bad("VOD has no such operation here")))
            .transpose()?;
        let kind = pieces.next().unwrap_or_default();
        let (kind, part) = kind.split_once('=').unwrap_or((kind, "1"));
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind);
        let part = part.parse().ok().filter(|part| (0.0..=1.0).contains(part));
        let mut fault = Self {
            operation,
            part: part.ok_or_else(|| bad("PART is a number from 0 to 1"))?,
            ..Self::always(kind.ok_or_else(|| bad("there is no such kind"))?)
        };
        for piece in pieces {
            if let Some(count) = piece.strip_prefix('x') {
                fault.count = Some(count.parse().map_err(|_| bad("COUNT is a whole number"))?);
            } else {
                let duration =
                    duration(piece).ok_or_else(|| bad("DURATION is like 3s or 250ms"))?;
                fault.duration = Some(duration);
            }
        }
        Ok(fault)
    }
}

/// A fault that hit a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    pub kind: Kind,
    pub duration: Option<Duration>,
}

pub(super) struct Faults {
    active: Vec<Fault>,
    random: fastrand::Rng,
}

impl Faults {
    pub fn new(active: Vec<Fault>, seed: u64) -> Self {
        Self { active, random: fastrand::Rng::with_seed(seed ^ 0xFA_17) }
    }

    pub fn set(&mut self, active: Vec<Fault>) {
        self.active = active;
    }

    pub fn active(&self) -> &[Fault] {
        &self.active
    }

    /// The first of the active faults that hits this call.
    pub fn strike(&mut self, operation: Operation) -> Option<Hit> {
        let random = &mut self.random;
        let hit = self.active.iter_mut().find(|fault| {
            fault.operation.is_none_or(|only| only == operation)
                && fault.count != Some(0)
                && random.f64() < fault.part
        })?;
        hit.count = hit.count.map(|count| count - 1);
        Some(Hit { kind: hit.kind, duration: hit.duration })
    }

    /// A number below `bound`, for the faults that come in several forms.
    pub fn pick(&mut self, bound: usize) -> usize {
        self.random.usize(..bound)
    }
}

fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_form_is_read_and_printed_again() {
        let slow: Fault = "UpdateVideoInfo:slow=0.5:3s:x10".parse().unwrap();
        let expected = Fault {
            operation: Some(Operation::UpdateVideoInfo),
            part: 0.5,
            duration: Some(Duration::from_secs(3)),
            count: Some(10),
            ..Fault::always(Kind::Slow)
        };
        assert_eq!(slow, expected);
        assert_eq!(slow.to_string(), "UpdateVideoInfo:slow=0.5:3000ms:x10");
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(Fault::always(kind)));
            let text = Fault::always(kind).to_string();
            assert_eq!(text.parse(), Ok(Fault::always(kind)));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for operation in Operation::ALL {
            let fault = Fault { operation: Some(operation), ..Fault::always(Kind::Reset) };
            assert_eq!(format!("{}:reset", operation.name()).parse(), Ok(fault));
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_forms_that_work() {
        for text in ["", "often", "reset=2", "reset=NaN", "Reset=1", "slow:3", "reset:xx", "=1"] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains("error-5xx") && error.contains("x10"), "{error}");
        }
    }

    #[test]
    fn a_fault_hits_its_part_of_its_operation_and_ends_with_its_count() {
        let faults = ["GetVideoInfo:reset:x2", "throttle=0.25"].map(|text| text.parse().unwrap());
        let mut faults = Faults::new(faults.into(), 1);
        let mut kinds = |operation, calls: usize| -> Vec<_> {
            (0..calls).filter_map(|_| faults.strike(operation).map(|hit| hit.kind)).collect()
        };
        assert_eq!(kinds(Operation::GetVideoInfo, 2), [Kind::Reset; 2]);
        let later = kinds(Operation::GetVideoInfo, 4_000);
        assert!(later.iter().all(|kind| *kind == Kind::Throttle));
        assert!((800..1_200).contains(&later.len()), "{}", later.len());
    }
}
