//! EventTime, in the two forms that VOD sends.

use jiff::Timestamp;

/// Reads `2018-07-31T10:07:31Z`, and the form of the AI events, `2022-10-20T10:29:46:540Z`, which has a
/// colon before the milliseconds and is not RFC 3339. Anything else is `None`: a time that cannot be
/// read must not cost the event.
pub fn event_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let (head, millis) = text.rsplit_once(':')?;
        format!("{head}.{millis}").parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_documented_forms_are_read() {
        let plain = event_time("2018-07-31T10:07:31Z").map(|t| t.as_second());
        assert_eq!(plain, Some(1_533_031_651));
        let millis = event_time("2022-10-20T10:29:46:540Z").map(|t| t.as_millisecond());
        assert_eq!(millis, Some(1_666_261_786_540));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "yesterday", "2018-07-31", ":", "2018-07-31T10:07:31:Z", "::::"] {
            assert_eq!(event_time(text), None, "{text}");
        }
    }
}
