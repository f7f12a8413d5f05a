//! Opens a connection within a bound, and says what is wrong when that fails. Never lets lapin recover a
//! connection by itself: after an error on a channel it would leave a consumer that silently gets nothing.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::tcp::TLSConfig;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, ErrorKind, Event};
use secrecy::ExposeSecret;
use tokio::time::timeout;
use url::{Host, Url};

use super::settings::Settings;

/// For the whole of a TCP connection, the TLS handshake and the AMQP handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For an orderly end; without it the broker notices the closed socket.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often to look whether a connection has ended without an event.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Why the broker cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Trouble {
    /// Says nothing of what the URL is, since it holds a password.
    #[error("queue.rabbitmq.url is not an AMQP URL: {0}")]
    Url(&'static str),
    #[error("{step} took longer than {limit:?}")]
    TimedOut { step: String, limit: Duration },
    #[error("{step}")]
    Refused {
        step: String,
        #[source]
        source: lapin::Error,
    },
    #[error("the broker cancelled the consumer of {queue:?}: the queue was deleted or moved")]
    ConsumerCancelled { queue: String },
    #[error("{0}")]
    Silence(&'static str),
}

impl Trouble {
    /// The reply code of AMQP, where the broker gave one.
    pub fn code(&self) -> Option<u16> {
        let Self::Refused { source, .. } = self else { return None };
        let ErrorKind::ProtocolError(error) = source.kind() else { return None };
        Some(error.get_id())
    }

    /// Whether a message cannot be parsed by this client, so that the connection ends whenever the
    /// broker delivers it.
    pub fn is_unreadable_message(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if matches!(source.kind(), ErrorKind::ParsingError(_)))
    }

    /// The trouble with everything that caused it, and what to do about it.
    pub fn explain(&self, settings: &Settings) -> String {
        let what = self.what();
        match self.advice(settings) {
            Some(advice) => format!("{what}; {advice}"),
            None => what,
        }
    }

    /// Not the whole chain, since errors of lapin print their sources themselves.
    fn what(&self) -> String {
        match self {
            Self::Refused { source, .. } => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }

    fn advice(&self, settings: &Settings) -> Option<String> {
        let what = self.what();
        let queue = &settings.queue;
        Some(match self.code() {
            Some(403) if what.contains("ogin") => {
                "user name or password are wrong: correct queue.rabbitmq.url (AMQP_URL)".to_owned()
            }
            Some(403) => format!(
                "the user lacks a permission: it needs to read {queue:?}, to write {:?} and the \
                 default exchange, and to configure the queues unless queue.rabbitmq.declare is \
                 \"verify\" or \"none\"",
                settings.exchange
            ),
            Some(404) => {
                "run `vod-cover declare`, or set queue.rabbitmq.declare = \"create\"".to_owned()
            }
            Some(406) => "a queue or exchange of this name exists with other properties: delete it, \
                 choose another name, or set queue.rabbitmq.type as it was declared, or \
                 queue.rabbitmq.declare = \"verify\" to use it as it is"
                .to_owned(),
            Some(530) if what.contains("vhost") => "the vhost at the end of queue.rabbitmq.url does not exist or the user may \
                 not use it: create it, grant access, or correct the URL (the default vhost is /%2f)"
                .to_owned(),
            _ if self.is_unreadable_message() => format!(
                "a message in {queue:?} breaks the AMQP encoding; a quorum queue moves it to the dead \
                 letters after {} deliveries, from a classic queue it has to be removed",
                settings.delivery_limit
            ),
            _ => return None,
        })
    }
}

/// Puts a bound on one answer of the broker.
pub(super) async fn within<T>(
    limit: Duration,
    step: impl Into<String>,
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Trouble> {
    match timeout(limit, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Trouble::Refused { step: step.into(), source }),
        Err(_) => Err(Trouble::TimedOut { step: step.into(), limit }),
    }
}

/// Connects and logs in. `role` is what an operator sees in the broker's list of connections.
pub(super) async fn open(settings: &Settings, role: &str) -> Result<Connection, Trouble> {
    let uri = parse(settings)?;
    let step = format!("connecting to RabbitMQ at {}:{}", uri.authority.host, uri.authority.port);
    let name = format!("vod-cover {role} {}", std::process::id());
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let socket = Socket::default();
    let second_handle = Arc::clone(&socket.0);
    let handshake = async {
        // Without it lapin would choose one; by calling it here all of the program uses the same.
        rustls::crypto::ring::default_provider().install_default().ok();
        let runtime = lapin::runtime::default_runtime()?;
        Connection::connector(
            uri,
            runtime,
            async move |uri, runtime| {
                let address = (uri.authority.host.clone(), uri.authority.port);
                let tcp = AsyncTcpStream::connect(&runtime, runtime.to_socket_addrs(address));
                let stream = timeout(CONNECT_TIMEOUT / 2, tcp).await.map_err(io::Error::from)??;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    let handle = plain.get_ref().as_fd().try_clone_to_owned()?;
                    *second_handle.lock().unwrap_or_else(|e| e.into_inner()) = Some(handle.into());
                }
                match uri.scheme {
                    AMQPScheme::AMQP => Ok(stream),
                    AMQPScheme::AMQPS => {
                        Ok(stream.into_tls(&uri.authority.host, TLSConfig::default()).await?)
                    }
                }
            },
            properties,
        )
        .await
    };
    let opened = within(CONNECT_TIMEOUT, step, handshake).await;
    if opened.is_ok() {
        socket.release();
    }
    opened
}

/// A second handle of the socket of a connection that is being made. lapin waits for ever for a TLS or AMQP
/// handshake that the other side never answers, in a thread of its own that outlives the future that it
/// belongs to; dropping this shuts the socket down, which ends the thread.
#[derive(Default)]
struct Socket(Arc<Mutex<Option<TcpStream>>>);

impl Socket {
    fn release(&self) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).take();
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(socket) = self.0.lock().unwrap_or_else(|e| e.into_inner()).take() {
            socket.shutdown(Shutdown::Both).ok();
        }
    }
}

/// Looks at an event of a connection, and whether it is still connected.
pub(super) fn check(connection: &Connection, event: Option<Event>) -> Result<(), Trouble> {
    if connection.status().connected() {
        return Ok(());
    }
    Err(match event {
        Some(Event::Error(source)) => {
            Trouble::Refused { step: "keeping the connection to RabbitMQ".to_owned(), source }
        }
        _ => Trouble::Silence("the connection to RabbitMQ ended"),
    })
}

/// The URL, with what lapin reads otherwise than most clients put right: an IPv6 host (it would take
/// localhost instead), and the empty vhost of `amqp://host/` (it would ask for one named "").
fn parse(settings: &Settings) -> Result<AMQPUri, Trouble> {
    let text = settings.url.expose_secret();
    let url = Url::parse(text).map_err(|_| Trouble::Url("it cannot be parsed"))?;
    if !["amqp", "amqps"].contains(&url.scheme()) {
        return Err(Trouble::Url("it must begin with amqp:// or amqps://"));
    }
    let mut uri: AMQPUri = text.parse().map_err(|_| {
        Trouble::Url("a part of it is not what it should be; is it percent-encoded?")
    })?;
    match url.host() {
        Some(Host::Ipv6(address)) => uri.authority.host = address.to_string(),
        Some(_) => {}
        None => return Err(Trouble::Url("it has no host")),
    }
    if uri.vhost.is_empty() {
        uri.vhost = "/".to_owned();
    }
    if uri.query.heartbeat.is_none() && settings.heartbeat > 0 {
        uri.query.heartbeat = Some(settings.heartbeat);
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;
    use super::*;

    fn parsed(url: &str) -> Result<AMQPUri, Trouble> {
        parse(&Settings { url: url.into(), ..settings() })
    }

    #[test]
    fn hosts_and_vhosts_are_what_the_url_says() {
        let host = |url| parsed(url).unwrap().authority.host;
        assert_eq!(host("amqp://10.0.0.1:5672"), "10.0.0.1");
        assert_eq!(host("amqps://u:p@[2001:db8::1]:5671/v"), "2001:db8::1");
        let vhost = |url| parsed(url).unwrap().vhost;
        assert_eq!(vhost("amqp://h"), "/");
        assert_eq!(vhost("amqp://h/"), "/");
        assert_eq!(vhost("amqp://h/%2f"), "/");
        assert_eq!(vhost("amqp://h/vod"), "vod");
    }

    #[test]
    fn a_heartbeat_in_the_url_wins() {
        assert_eq!(parsed("amqp://h").unwrap().query.heartbeat, Some(10));
        assert_eq!(parsed("amqp://h?heartbeat=3").unwrap().query.heartbeat, Some(3));
    }

    #[test]
    fn a_wrong_url_is_explained_without_showing_it() {
        for url in ["amqp:secret@host", "http://u:secret@host", "secret", "amqp://u:secret@h:port"]
        {
            let text = parsed(url).unwrap_err().explain(&settings());
            assert!(text.contains("queue.rabbitmq.url") && !text.contains("secret"), "{text}");
        }
    }
}
