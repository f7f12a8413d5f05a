//! The steps of an event that a trace shows: its intake, its handling, the calls to VOD. Without the feature `otlp`,
//! or without a collector, only the handling has a span, for the log.

use tracing::{Span, field::Empty, info_span};

use crate::queue::{Message, Trace};

/// Of one delivery. What the log lines about a message have in common is its trace, if it has one.
pub fn handling(message: &Message) -> Span {
    let Some(trace) = message.trace else { return Span::none() };
    let span = info_span!("event", trace.id = %trace.id());
    #[cfg(feature = "otlp")]
    if super::otlp::is_on() {
        super::otlp::follow(&span, trace);
    }
    span
}

/// Of taking a callback in.
pub fn intake() -> Span {
    match is_on() {
        true => info_span!("callback", otel.kind = "server"),
        false => Span::none(),
    }
}

/// The trace that begins with this span, if spans go anywhere.
pub fn begun(span: &Span) -> Option<Trace> {
    #[cfg(feature = "otlp")]
    if is_on() {
        return super::otlp::trace_of(span);
    }
    let _ = span;
    None
}

/// What a call is made for, to be given to [`calling`].
pub fn here() -> Span {
    if is_on() { Span::current() } else { Span::none() }
}

/// Of a call that is made for these.
pub fn calling(askers: &[Span]) -> Span {
    let Some((first, others)) = askers.split_first().filter(|_| is_on()) else {
        return Span::none();
    };
    let span = info_span!(parent: first, "calls", asked = askers.len());
    for other in others {
        span.follows_from(other);
    }
    span
}

/// Of one attempt at a call to VOD.
pub fn attempt(operation: &'static str) -> Span {
    match is_on() {
        true => info_span!(
            "VOD",
            otel.name = operation,
            otel.kind = "client",
            vod.operation = operation,
            vod.request_id = Empty,
            vod.code = Empty,
        ),
        false => Span::none(),
    }
}

/// What VOD answered, on the span of the attempt.
pub fn answered(request_id: Option<&str>, code: Option<&str>) {
    if !is_on() {
        return;
    }
    let span = Span::current();
    if let Some(request_id) = request_id {
        span.record("vod.request_id", request_id);
    }
    span.record("vod.code", code.unwrap_or("ok"));
}

/// Sends what was not sent yet. Blocks for some seconds if the collector does not answer.
pub fn finish() {
    #[cfg(feature = "otlp")]
    super::otlp::finish();
}

fn is_on() -> bool {
    #[cfg(feature = "otlp")]
    return super::otlp::is_on();
    #[cfg(not(feature = "otlp"))]
    return false;
}
