//! Where Redis is: reads the URL's forms and opens connections to what they name. It never prints the
//! URL, which may hold a password.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    Pipeline, RedisError, RedisFuture, RedisResult, TlsCertificates, TlsMode, Value,
};
use secrecy::ExposeSecret;
use url::form_urlencoded;

use super::{BadSettings, Settings};

const SENTINEL_PORT: u16 = 26379;
const REDIS_PORT: u16 = 6379;

/// What a URL stands for.
pub(super) enum Address {
    Single(Client),
    Sentinel(Sentinel),
    Cluster(Box<ClusterClient>),
}

/// The sentinels, and what is said to the Redis that they name.
pub(super) struct Sentinel {
    sentinels: Vec<ConnectionAddr>,
    username: Option<String>,
    password: Option<String>,
    master: String,
    node: ConnectionInfo,
    certificates: Option<TlsCertificates>,
}

/// A connection that many calls share at the same time.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Address {
    pub fn parse(settings: &Settings) -> Result<Self, BadSettings> {
        let url = settings.url.expose_secret().trim();
        let (scheme, rest) = url.split_once("://").ok_or(BadSettings::Form)?;
        let (plain, kind) = match scheme.split_once('+') {
            Some((plain, kind)) => (plain, kind),
            None => (scheme, ""),
        };
        if !matches!(plain, "redis" | "rediss") {
            return Err(BadSettings::Form);
        }
        let certificates = certificates(settings, plain)?;
        match kind {
            "" => {
                let client = match certificates {
                    Some(certificates) => Client::build_with_tls(url, certificates),
                    None => Client::open(url),
                };
                Ok(Self::Single(client.map_err(BadSettings::Url)?))
            }
            "sentinel" => Ok(Self::Sentinel(Sentinel::parse(plain, rest, certificates)?)),
            "cluster" => {
                let parts = Parts::split(rest);
                if !parts.query.is_empty() || !parts.path.is_empty() {
                    return Err(BadSettings::Form);
                }
                let nodes = parts.nodes(plain, parts.user, REDIS_PORT)?;
                let mut builder = ClusterClientBuilder::new(nodes)
                    .connection_timeout(settings.connect_timeout)
                    .response_timeout(settings.timeout)
                    .retries(2);
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                Ok(Self::Cluster(Box::new(builder.build().map_err(BadSettings::Url)?)))
            }
            _ => Err(BadSettings::Form),
        }
    }

    /// Opens a connection anew. Sentinels are asked each time, so that a new master is found. The
    /// caller bounds the time it takes.
    pub async fn connect(&self, limit: Duration) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            // Each call is bounded by whoever makes it.
            .set_response_timeout(None);
        Ok(match self {
            Self::Single(client) => Connection::Single(
                client.get_multiplexed_async_connection_with_config(&config).await?,
            ),
            Self::Sentinel(sentinel) => Connection::Single(
                sentinel.client()?.get_async_connection_with_config(&config).await?,
            ),
            Self::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        })
    }
}

impl Sentinel {
    fn parse(
        scheme: &str,
        rest: &str,
        certificates: Option<TlsCertificates>,
    ) -> Result<Self, BadSettings> {
        let parts = Parts::split(rest);
        let (master, database) = parts.path.split_once('/').unwrap_or((parts.path, ""));
        if master.is_empty() {
            return Err(BadSettings::Form);
        }
        let (mut username, mut password) = (None, None);
        for (name, value) in form_urlencoded::parse(parts.query.as_bytes()) {
            match name.as_ref() {
                "sentinel_username" => username = Some(value.into_owned()),
                "sentinel_password" => password = Some(value.into_owned()),
                _ => return Err(BadSettings::Form),
            }
        }
        let sentinels = parts.nodes(scheme, "", SENTINEL_PORT)?;
        let node = format!("{scheme}://{}master/{database}", parts.user);
        Ok(Self {
            sentinels: sentinels.iter().map(|sentinel| sentinel.addr().clone()).collect(),
            username,
            password,
            master: master.to_owned(),
            node: node.into_connection_info().map_err(BadSettings::Url)?,
            certificates,
        })
    }

    fn client(&self) -> RedisResult<redis::sentinel::SentinelClient> {
        let addresses = self.sentinels.iter().cloned();
        let redis = self.node.redis_settings();
        let mut builder =
            SentinelClientBuilder::new(addresses, &self.master, SentinelServerType::Master)?
                .set_client_to_redis_db(redis.db());
        if let Some(username) = redis.username() {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = redis.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(username) = &self.username {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if matches!(self.node.addr(), ConnectionAddr::TcpTls { .. }) {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(cmd, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// A URL with several hosts, which `url` cannot read: `[user:password@]host[:port],.../path?query`.
struct Parts<'a> {
    /// With its `@`, still percent-encoded, or empty.
    user: &'a str,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn split(rest: &'a str) -> Self {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        Self { user, hosts, path: path.trim_end_matches('/'), query }
    }

    fn nodes(
        &self,
        scheme: &str,
        user: &str,
        default_port: u16,
    ) -> Result<Vec<ConnectionInfo>, BadSettings> {
        let node = |host: &str| {
            let host = host.trim();
            let has_port = host.rfind(':').is_some_and(|at| !host[at..].contains(']'));
            let port = if has_port { String::new() } else { format!(":{default_port}") };
            format!("{scheme}://{user}{host}{port}")
                .into_connection_info()
                .map_err(|error: RedisError| BadSettings::Url(error))
        };
        self.hosts.split(',').map(node).collect()
    }
}

fn certificates(settings: &Settings, scheme: &str) -> Result<Option<TlsCertificates>, BadSettings> {
    let Some(path) = &settings.ca_file else { return Ok(None) };
    if scheme != "rediss" {
        return Err(BadSettings::CaWithoutTls);
    }
    let pem =
        std::fs::read(path).map_err(|source| BadSettings::CaFile { path: path.clone(), source })?;
    Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(pem) }))
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn parse(url: &str) -> Result<Address, BadSettings> {
        Address::parse(&Settings {
            url: SecretString::from(url),
            prefix: "vod-cover".to_owned(),
            timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            keep: Duration::from_secs(1),
            ca_file: None,
        })
    }

    #[test]
    fn a_sentinel_url_names_its_sentinels_the_master_and_how_to_log_in_to_both() {
        let url = "redis+sentinel://vod:p%40ss@h1:7000,h2,[::1]/mymaster/3?sentinel_password=s3";
        let Ok(Address::Sentinel(sentinel)) = parse(url) else { panic!("no sentinel") };
        let hosts: Vec<_> = sentinel.sentinels.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["h1:7000", "h2:26379", "::1:26379"]);
        assert_eq!(sentinel.master, "mymaster");
        let node = sentinel.node.redis_settings();
        assert_eq!((node.username(), node.password()), (Some("vod"), Some("p@ss")));
        assert_eq!(node.db(), 3);
        assert_eq!((sentinel.username, sentinel.password), (None, Some("s3".to_owned())));
    }

    #[test]
    fn every_form_is_read_with_and_without_tls() {
        for url in ["redis://h", "rediss://u:p@h:1/2", "redis://:p@h"] {
            assert!(matches!(parse(url), Ok(Address::Single(_))), "{url}");
        }
        for url in ["redis+cluster://h1:7000,h2:7001", "rediss+cluster://u:p@h1,h2/"] {
            assert!(matches!(parse(url), Ok(Address::Cluster(_))), "{url}");
        }
        for url in ["redis+sentinel://h/m", "rediss+sentinel://u:p@h1,h2/m/1"] {
            assert!(matches!(parse(url), Ok(Address::Sentinel(_))), "{url}");
        }
    }

    #[test]
    fn a_bad_url_is_answered_with_the_forms_and_without_its_password() {
        for url in [
            "",
            "localhost:6379",
            "http://h",
            "redis+sentinel://:secret@h1",
            "redis+other://:secret@h",
            "redis+cluster://:secret@h1/3",
            "redis+sentinel://h/m?secret=x",
            "redis://:secret@h:port",
        ] {
            let error = parse(url).err().expect("no error");
            let text = crate::error::chain(&error);
            assert!(text.contains("redis+sentinel://"), "{url}: {text}");
            assert!(!text.contains("secret"), "{url}: {text}");
        }
    }
}
