//! Traces by OTLP over HTTP, if OTEL_EXPORTER_OTLP_ENDPOINT says to where: from the intake of an event to the call
//! that sets its cover, with VOD's RequestId. Batches leave from a thread of their own; a collector that is away
//! costs spans, never events.
//!
//! Documentation: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::sync::OnceLock;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::queue::Trace;

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// The layer that exports spans; `None` if nobody says to where.
pub(super) fn layer<S>() -> Option<impl Layer<S>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let variables = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    variables.iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))?;
    // Its HTTP client speaks TLS by the same library as ours.
    crate::tls::install();
    let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpJson).build();
    let exporter = match exporter {
        Ok(exporter) => exporter,
        Err(error) => {
            // The log does not exist yet.
            eprintln!("vod-cover: no traces will be exported: {error}");
            return None;
        }
    };
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("vod-cover");
    }
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.with_attribute(version).build())
        .build();
    let tracer = provider.tracer("vod-cover");
    PROVIDER.set(provider).ok()?;
    Some(tracing_opentelemetry::layer().with_tracer(tracer))
}

/// Whether spans go anywhere.
pub(super) fn is_on() -> bool {
    PROVIDER.get().is_some()
}

/// Sends what was not sent yet. Blocks for some seconds if the collector does not answer.
pub(super) fn finish() {
    if let Some(provider) = PROVIDER.get() {
        let _ = provider.shutdown();
    }
}

/// Makes a span the next step of a trace that came from elsewhere.
pub(super) fn follow(span: &Span, trace: Trace) {
    let context = SpanContext::new(
        TraceId::from_bytes(trace.id_bytes()),
        SpanId::from_bytes(trace.parent_bytes()),
        TraceFlags::new(trace.flags()),
        true,
        TraceState::NONE,
    );
    // Only fails where the span is disabled.
    let _ = span.set_parent(Context::new().with_remote_span_context(context));
}

/// The trace that a span is a step of, for what follows from it elsewhere.
pub(super) fn trace_of(span: &Span) -> Option<Trace> {
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    let id = u128::from_be_bytes(context.trace_id().to_bytes());
    let parent = u64::from_be_bytes(context.span_id().to_bytes());
    Trace::new(id, parent)
}
