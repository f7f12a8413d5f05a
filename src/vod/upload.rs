//! Puts a picture into VOD's storage, to become a cover: CreateUploadImage gives a ticket, PutObject to
//! OSS uses it. Repeating a PUT overwrites the object with itself, so it is safe; a ticket that expired
//! is replaced once. It sets no cover, and never logs a ticket.
//!
//! Documentation: <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-createuploadimage>,
//! <https://www.alibabacloud.com/help/en/oss/developer-reference/putobject>

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use md5::{Digest, Md5};
use serde::Deserialize;

use super::error::PUT_OBJECT;
use super::{Client, Error, Operation, Parameters, call, http, odd, sign, wire};
use crate::cover::CoverUrl;
use crate::error::Class;
use crate::picture::Format;

mod ticket;

pub use ticket::Ticket;
use ticket::Wishes;

/// Bytes a second that a line must carry at the least for an upload to be done in time.
const SLOWEST: usize = 32 * 1024;

impl Client {
    /// CreateUploadImage: the right to upload one picture of this format as a cover. The title is for
    /// people in VOD's console, and at most 128 bytes long.
    /// <https://www.alibabacloud.com/help/en/vod/developer-reference/api-vod-2017-03-21-createuploadimage>
    pub async fn create_upload_image(&self, format: Format, title: &str) -> Result<Ticket, Error> {
        let operation = Operation::CreateUploadImage;
        let parameters = Parameters::from([
            ("ImageExt", format.extension().to_owned()),
            ("ImageType", "cover".to_owned()),
            ("Title", title.to_owned()),
        ]);
        let reply: wire::CreateUploadImage = self.call(operation, parameters).await?;
        let wishes = Wishes {
            endpoint: self.inner.settings.oss_endpoint.trim(),
            region: self.inner.settings.region.trim(),
            allow_plain_http: self.inner.endpoint.scheme() == "http",
        };
        Ticket::read(reply, wishes).map_err(|why| odd(operation, why))
    }

    /// Uploads a picture, and returns the address under which it can be a cover.
    pub async fn upload_cover(
        &self,
        picture: &Bytes,
        format: Format,
        title: &str,
    ) -> Result<CoverUrl, Error> {
        let mut ticket = self.create_upload_image(format, title).await?;
        let (mut renewed, mut repeated) = (false, 0);
        loop {
            let error = match self.put(&ticket, picture, format).await {
                Ok(()) => return Ok(ticket.image),
                Err(error) => error,
            };
            tracing::debug!(operation = PUT_OBJECT, reason = %error.reason(), "an upload failed");
            if error.is_about_the_ticket() && !renewed {
                renewed = true;
                ticket = self.create_upload_image(format, title).await?;
            } else if error.class() == Class::Transient && repeated < self.inner.settings.retries {
                tokio::time::sleep(call::backoff(repeated)).await;
                repeated += 1;
            } else {
                return Err(error);
            }
        }
    }

    /// PutObject. <https://www.alibabacloud.com/help/en/oss/developer-reference/putobject>
    async fn put(&self, ticket: &Ticket, picture: &Bytes, format: Format) -> Result<(), Error> {
        let settings = &self.inner.settings;
        let transfer = Duration::from_secs((picture.len() / SLOWEST) as u64);
        let time = settings.timeout + transfer;
        let digest = Md5::digest(picture);
        let content_md5 = STANDARD.encode(digest);
        let request = sign::oss::Request {
            region: &ticket.region,
            bucket: &ticket.bucket,
            key: &ticket.key,
            content_type: format.content_type(),
            content_md5: Some(&content_md5),
        };
        let broken_off = |error| call::broken_off(PUT_OBJECT, error);
        let no_client = |error| broken_off(http::Error::Transport(error));
        // Its own for each upload, since each may go to another host; uploads are rare.
        let client = http::client(&ticket.object, settings.connect_timeout, time).build();
        let mut put = client.map_err(no_client)?.put(ticket.object.clone()).body(picture.clone());
        for (name, value) in sign::oss::sign(&request, &ticket.identity(), Timestamp::now()) {
            put = put.header(name, value);
        }
        let answer = http::send(put).await.map_err(broken_off)?;
        if answer.status != 200 {
            return Err(refused(&answer));
        }
        // OSS has compared the body with Content-MD5. Its ETag need not be an MD5, if it encrypts.
        Ok(())
    }
}

/// <https://www.alibabacloud.com/help/en/oss/developer-reference/error-response>
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    request_id: String,
}

fn refused(answer: &http::Answer) -> Error {
    let status = answer.status;
    let text = String::from_utf8_lossy(&answer.body);
    match quick_xml::de::from_str::<Refusal>(&text) {
        Ok(refusal) => Error::Oss {
            code: short(&refusal.code, 100),
            message: short(&refusal.message, 300),
            status,
            request_id: short(&refusal.request_id, 64),
        },
        // No word of the document: it may repeat what was signed.
        Err(_) => not_oss(status, "no XML with a Code".to_owned()),
    }
}

fn not_oss(status: u16, why: String) -> Error {
    Error::Reply { operation: PUT_OBJECT, status, why, retry_after: None, ambiguous: false }
}

fn short(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &'static str) -> Error {
        let body = Bytes::from_static(body.as_bytes());
        refused(&http::Answer { status, retry_after: None, body })
    }

    #[test]
    fn a_refusal_is_read_from_its_xml_and_nothing_else() {
        let error = refusal(
            403,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>\n  <Code>SecurityTokenExpired</Code>\n  \
             <Message>The &quot;token&quot; expired.</Message>\n  <RequestId>5C3D</RequestId>\n  \
             <HostId>h</HostId>\n  <EC>0002-1</EC>\n</Error>\n",
        );
        assert!(error.is_about_the_ticket());
        let text = error.to_string();
        assert!(text.contains("SecurityTokenExpired") && text.contains("5C3D"), "{text}");
        assert!(text.contains("The \"token\" expired."), "{text}");
        for odd in ["", "<html><Code>x</Code>", "<Error></Error>", "{\"Code\":\"x\"}"] {
            let error = refusal(502, odd);
            assert!(matches!(error, Error::Reply { status: 502, .. }), "{odd}: {error}");
            assert_eq!(error.class(), Class::Transient);
        }
    }

    #[test]
    fn refusals_of_oss_have_their_classes() {
        let class = |status, code: &str| {
            let (code, request_id) = (code.to_owned(), String::new());
            Error::Oss { code, message: String::new(), status, request_id }.class()
        };
        assert_eq!(class(500, "InternalError"), Class::Transient);
        assert_eq!(class(503, "ServiceUnavailable"), Class::Transient);
        assert_eq!(class(400, "InvalidDigest"), Class::Transient);
        assert_eq!(class(403, "SignatureDoesNotMatch"), Class::Misconfigured);
        assert_eq!(class(403, "RequestTimeTooSkewed"), Class::Misconfigured);
        assert_eq!(class(403, "AccessDenied"), Class::Misconfigured);
        assert_eq!(class(400, "EntityTooLarge"), Class::Permanent);
    }
}
