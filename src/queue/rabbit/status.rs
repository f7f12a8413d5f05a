//! What is known of the two connections without asking: for `/readyz`, the log and the metrics.

use std::sync::Mutex;

use super::connection::Trouble;
use super::settings::Settings;
use crate::queue::Health;
use crate::telemetry;

/// What a connection is for. They are two, since a connection that the broker has blocked for publishing
/// sends nothing at all any more, acknowledgements included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Consume,
    Publish,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Publish => "publish",
        }
    }
}

/// The state of both connections.
#[derive(Debug)]
pub(super) struct Status(Mutex<[State; 2]>);

#[derive(Debug, Clone)]
enum State {
    Up,
    Blocked(String),
    Down(String),
}

impl Status {
    pub fn new() -> Self {
        let state = State::Down("RabbitMQ is not connected yet".to_owned());
        Self(Mutex::new([state.clone(), state]))
    }

    /// Of one that never consumes.
    pub fn of_publisher() -> Self {
        let status = Self::new();
        status.0.lock().unwrap_or_else(|e| e.into_inner())[Role::Consume as usize] = State::Up;
        status
    }

    pub fn up(&self, role: Role) {
        tracing::info!(role = role.name(), "connected to RabbitMQ");
        self.set(role, State::Up);
    }

    /// The broker is out of memory or disk and takes no messages.
    pub fn blocked(&self, reason: &str) {
        tracing::warn!(reason, "RabbitMQ takes no messages: an alarm is set there");
        self.set(Role::Publish, State::Blocked(reason.to_owned()));
    }

    pub fn unblocked(&self) {
        tracing::info!("RabbitMQ takes messages again");
        self.set(Role::Publish, State::Up);
    }

    pub fn down(&self, role: Role, trouble: &Trouble, settings: &Settings) {
        let what = trouble.explain(settings);
        if self.says(role, &what) {
            tracing::debug!(role = role.name(), error = what, "RabbitMQ is still away");
        } else {
            tracing::warn!(role = role.name(), error = what, "RabbitMQ is away; connecting again");
        }
        telemetry::reconnects("rabbitmq");
        self.set(role, State::Down(what));
    }

    pub fn health(&self) -> Health {
        let states = self.0.lock().unwrap_or_else(|e| e.into_inner());
        for state in states.iter() {
            match state {
                State::Up => {}
                State::Down(what) => return Health::Away(what.clone()),
                State::Blocked(reason) => {
                    return Health::Away(format!(
                        "RabbitMQ takes no messages ({reason}): free memory or disk space there"
                    ));
                }
            }
        }
        Health::Ready
    }

    fn says(&self, role: Role, what: &str) -> bool {
        let states = self.0.lock().unwrap_or_else(|e| e.into_inner());
        matches!(&states[role as usize], State::Down(known) if known == what)
    }

    fn set(&self, role: Role, state: State) {
        telemetry::broker_connected(role.name(), !matches!(state, State::Down(_)));
        if role == Role::Publish {
            telemetry::broker_blocked(matches!(state, State::Blocked(_)));
        }
        let mut states = self.0.lock().unwrap_or_else(|e| e.into_inner());
        states[role as usize] = state;
    }
}
