//! The trace context that travels with a message from its intake to the last log line about it. Pure.
//!
//! Documentation: <https://www.w3.org/TR/trace-context/#traceparent-header>

use std::fmt;
use std::str::FromStr;

/// A W3C `traceparent`: which trace a message belongs to, and the step that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    id: u128,
    parent: u64,
    flags: u8,
}

/// The text has not the form of a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct BadTrace;

/// For what exports spans.
#[cfg(feature = "otlp")]
impl Trace {
    pub fn id_bytes(&self) -> [u8; 16] {
        self.id.to_be_bytes()
    }

    pub fn parent_bytes(&self) -> [u8; 8] {
        self.parent.to_be_bytes()
    }

    pub fn flags(&self) -> u8 {
        self.flags
    }
}

impl Trace {
    /// Bytes of a `traceparent` as text.
    pub const LENGTH: usize = 55;
    /// The flag of a trace that is recorded.
    const SAMPLED: u8 = 1;

    /// A trace that begins here; both numbers should be random. `None` if one is zero, which stands for
    /// no trace at all.
    pub fn new(id: u128, parent: u64) -> Option<Self> {
        (id != 0 && parent != 0).then_some(Self { id, parent, flags: Self::SAMPLED })
    }

    /// What all steps of one trace have in common: 32 hexadecimal digits.
    pub fn id(&self) -> impl fmt::Display + use<> {
        let id = self.id;
        fmt::from_fn(move |f| write!(f, "{id:032x}"))
    }
}

/// As version 00, the only one there is.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.id, self.parent, self.flags)
    }
}

/// Reads version 00 and nothing else: what a later one means is not known yet.
impl FromStr for Trace {
    type Err = BadTrace;

    fn from_str(text: &str) -> Result<Self, BadTrace> {
        let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != Self::LENGTH || !text.bytes().all(|b| digits(b) || b == b'-') {
            return Err(BadTrace);
        }
        let mut parts = text.split('-');
        let mut part = |length| parts.next().filter(|part| part.len() == length).ok_or(BadTrace);
        let (version, id, parent, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        if version != "00" {
            return Err(BadTrace);
        }
        let id = u128::from_str_radix(id, 16).map_err(|_| BadTrace)?;
        let parent = u64::from_str_radix(parent, 16).map_err(|_| BadTrace)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| BadTrace)?;
        Ok(Self { flags, ..Self::new(id, parent).ok_or(BadTrace)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the recommendation.
    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_read_is_what_is_written() {
        let trace: Trace = EXAMPLE.parse().unwrap();
        assert_eq!(trace.to_string(), EXAMPLE);
        assert_eq!(trace.id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        let unsampled = EXAMPLE.replace("-01", "-00");
        assert_eq!(unsampled.parse::<Trace>().unwrap().to_string(), unsampled);
    }

    #[test]
    fn a_new_trace_is_recorded_and_padded() {
        let trace = Trace::new(0xabc, 0xd).unwrap();
        let text = "00-00000000000000000000000000000abc-000000000000000d-01";
        assert_eq!(trace.to_string(), text);
        assert_eq!(text.parse(), Ok(trace));
        assert_eq!((Trace::new(0, 1), Trace::new(1, 0)), (None, None));
    }

    #[test]
    fn another_form_is_no_trace() {
        let none = "0".repeat(32);
        for wrong in [
            "",
            "yes",
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replacen("00", "01", 1),
            &EXAMPLE.replacen("00", "ff", 1),
            &EXAMPLE.replace("0af7651916cd43dd8448eb211c80319c", &none),
            &EXAMPLE.replace("b7ad6b7169203331", &none[..16]),
            &EXAMPLE.replace("-01", "-1-"),
            &format!("{EXAMPLE}-"),
            &EXAMPLE[..54],
            &"-".repeat(55),
            &format!("{}é", &EXAMPLE[..53]),
        ] {
            assert_eq!(wrong.parse::<Trace>(), Err(BadTrace), "{wrong}");
        }
    }
}
