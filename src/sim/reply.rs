//! What the API answers: a JSON or XML body with a RequestId, or one of VOD's error codes.
//!
//! Documentation: `{"RequestId","HostId","Code","Message"}` with HTTP 4xx or 5xx for errors,
//! <https://www.alibabacloud.com/help/en/vod/developer-reference/responses>

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The answer to a call that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub status: u16,
    pub code: Cow<'static, str>,
    pub message: String,
    /// Sent as `x-acs-retry-after`, in milliseconds.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    pub fn new(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, code: code.into(), message: message.into(), retry_after: None }
    }

    pub fn missing(name: &str) -> Self {
        let message = format!("{name} is mandatory for this action.");
        Self::new(400, format!("Missing{name}"), message)
    }

    pub fn invalid(name: &str, why: &str) -> Self {
        Self::new(400, format!("Invalid{name}"), format!("The parameter {name} is invalid: {why}."))
    }

    pub fn no_such_api() -> Self {
        let message = "Specified api is not found, please check your url and method.";
        Self::new(404, "InvalidApi.NotFound", message)
    }

    pub fn throttled() -> Self {
        Self::new(400, "Throttling.User", "Request was denied due to user flow control.")
    }
}

/// Writes an answer in the format that the client asked for.
pub(super) fn response(action: &str, answer: Result<Value, ApiError>, as_json: bool) -> Response {
    let request_id = uuid::Uuid::new_v4().to_string().to_uppercase();
    let (status, mut body, retry_after) = match answer {
        Ok(body) => (StatusCode::OK, body, None),
        Err(error) => {
            let status = StatusCode::from_u16(error.status);
            let body = json!({
                "HostId": "vod.cn-shanghai.aliyuncs.com",
                "Code": error.code,
                "Message": error.message,
            });
            (status.unwrap_or(StatusCode::BAD_REQUEST), body, error.retry_after)
        }
    };
    body["RequestId"] = json!(request_id);
    let (kind, text) = if as_json {
        ("application/json;charset=utf-8", written(&body))
    } else {
        let root =
            if status == StatusCode::OK { format!("{action}Response") } else { "Error".into() };
        let mut text = String::from("<?xml version='1.0' encoding='UTF-8'?>");
        xml(&mut text, &root, &body);
        ("text/xml;charset=utf-8", text)
    };
    let mut response = (status, [(header::CONTENT_TYPE, kind)], text).into_response();
    if let Some(after) = retry_after {
        let millis = HeaderValue::from(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        response.headers_mut().insert("x-acs-retry-after", millis);
    }
    response
}

/// JSON as text; `Value::to_string` takes twice as long.
pub(super) fn written(value: &Value) -> String {
    // Writing a Value to memory cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// The XML that POP makes of the same data: a list repeats its element.
fn xml(text: &mut String, name: &str, value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| xml(text, name, item)),
        Value::Object(members) => {
            text.push_str(&format!("<{name}>"));
            members.iter().for_each(|(name, value)| xml(text, name, value));
            text.push_str(&format!("</{name}>"));
        }
        Value::String(inner) => {
            let inner = inner.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            text.push_str(&format!("<{name}>{inner}</{name}>"));
        }
        other => text.push_str(&format!("<{name}>{other}</{name}>")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_repeated_elements() {
        let mut text = String::new();
        xml(&mut text, "R", &json!({"A": ["x", "<&>"], "B": {"C": 1}}));
        assert_eq!(text, "<R><A>x</A><A>&lt;&amp;&gt;</A><B><C>1</C></B></R>");
    }

    #[test]
    fn an_error_has_its_status_and_its_retry_time() {
        let error =
            ApiError { retry_after: Some(Duration::from_millis(250)), ..ApiError::throttled() };
        let response = response("GetVideoInfo", Err(error), true);
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["x-acs-retry-after"], "250");
    }
}
