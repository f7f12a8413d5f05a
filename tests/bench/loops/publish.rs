//! Fills a queue, as fast as the broker confirms or at a steady rate.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write, sink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use tokio::time::{Instant, sleep_until};

use super::Clock;
use super::api::Update;

/// Messages that may wait for their confirm.
const UNCONFIRMED: usize = 1000;

pub async fn run(
    exchange: &str,
    events: &Path,
    rate: Option<f64>,
    times: Option<PathBuf>,
) -> Result<()> {
    let (_connection, channel) = super::connect().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut times: Box<dyn Write> = match times {
        Some(path) => Box::new(BufWriter::new(File::create(path)?)),
        None => Box::new(sink()),
    };
    let (clock, began) = (Clock::start()?, Instant::now());
    let mut count = 0;
    for line in BufReader::new(File::open(events)?).lines() {
        let line = line?;
        if let Some(rate) = rate {
            sleep_until(began + Duration::from_secs_f64(count as f64 / rate)).await;
            let video = Update::read(line.as_bytes())?.video_id;
            writeln!(times, "{video} {}", Timestamp::now().as_microsecond())?;
        }
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let kind = "SnapshotComplete".into();
        channel.basic_publish(exchange.into(), kind, options, line.as_bytes(), persistent).await?;
        count += 1;
        if rate.is_none() && count % UNCONFIRMED == 0 {
            channel.wait_for_confirms().await?;
        }
    }
    let returned = channel.wait_for_confirms().await?.len();
    anyhow::ensure!(returned == 0, "{returned} events met no queue");
    times.flush()?;
    clock.report("publish", count)
}
