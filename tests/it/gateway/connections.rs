//! Clients that are slow, silent or many, and what they cost: nothing for the others, and nothing for long.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

/// A gateway with little patience.
async fn impatient(more: &[(&str, &str)]) -> (World, Program) {
    let mut world = world(NOWHERE).await;
    for (name, value) in [("ANSWER_WITHIN", "1s"), ("IDLE", "1s"), ("SPOOL__AFTER", "500ms")] {
        world.set(&format!("VOD_COVER__INTAKE__{name}"), value);
    }
    let program = gateway(&world, more).await;
    (world, program)
}

async fn connect(program: &Program) -> TcpStream {
    TcpStream::connect(program.intake).await.unwrap()
}

/// What comes until the other side ends the connection, which it must.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the connection is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

fn with_length(program: &Program, body: &str) -> Vec<u8> {
    raw(program, &format!("Content-Length: {}\r\n", body.len()), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_nothing_is_shut_out() {
    let (_world, program) = impatient(&[]).await;
    let mut silent = connect(&program).await;
    assert_eq!(until_closed(&mut silent).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_a_byte_at_a_time_is_not_waited_for() {
    let (_world, program) = impatient(&[]).await;
    let mut slow = connect(&program).await;
    let began = std::time::Instant::now();
    for byte in with_length(&program, "{}").into_iter().cycle() {
        // Whoever is shut out cannot write on for long.
        if slow.write_all(&[byte]).await.is_err() {
            break;
        }
        assert!(began.elapsed() < SOON, "it is never shut out");
        tokio::time::sleep(Duration::from_millis(20)).await;
        if byte == b'\n' {
            assert_eq!(post(&program, event(1, 1)).await, 200, "others are answered meanwhile");
        }
    }
    assert_eq!(until_closed(&mut slow).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_said_to_be_late() {
    let (_world, program) = impatient(&[]).await;
    let mut slow = connect(&program).await;
    slow.write_all(&raw(&program, "Content-Length: 10\r\n", "{\"Ev")).await.unwrap();
    let answer = until_closed(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_length_ends_at_its_bound() {
    let (_world, program) = impatient(&[("VOD_COVER__INTAKE__MOST_BYTES", "1000")]).await;
    let mut endless = connect(&program).await;
    endless.write_all(&raw(&program, "Transfer-Encoding: chunked\r\n", "")).await.unwrap();
    let chunk = format!("200\r\n{}\r\n", "x".repeat(0x200));
    // It stops reading at last.
    while endless.write_all(chunk.as_bytes()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let counted = async || program.metric("vod_cover_callbacks_total", "413").await == 1.0;
    eventually("it was refused", SOON, counted).await;
    let body = format!("200\r\n{}\r\n0\r\n\r\n", "x".repeat(0x200));
    let mut short = connect(&program).await;
    short.write_all(&raw(&program, "Transfer-Encoding: chunked\r\n", &body)).await.unwrap();
    let answer = until_closed(&mut short).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "short enough, and not JSON: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_used_again_and_closed_when_it_is_idle() {
    let (_world, program) = impatient(&[]).await;
    let mut stream = connect(&program).await;
    let one = with_length(&program, &String::from_utf8(event(1, 1)).unwrap());
    // Two at once, and another one later.
    stream.write_all(&[one.clone(), one.clone()].concat()).await.unwrap();
    let mut answers = vec![0; 64 * 1024];
    let mut size = 0;
    while String::from_utf8_lossy(&answers[..size]).matches("200 OK").count() < 2 {
        size += timeout(SOON, stream.read(&mut answers[size..])).await.unwrap().unwrap();
    }
    stream.write_all(&one).await.unwrap();
    let rest = until_closed(&mut stream).await;
    assert_eq!(rest.matches("200 OK").count(), 1, "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_are_open_than_allowed_and_their_places_become_free() {
    let (_world, program) = impatient(&[("VOD_COVER__INTAKE__MOST_CONNECTIONS", "4")]).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(connect(&program).await);
    }
    let open = async || program.metric("vod_cover_intake_connections", "").await;
    eventually("all places are taken", SOON, async || open().await == 4.0).await;
    let posting = tokio::spawn({
        let request = signed(&program, event(1, 1), now(), CALLBACK_KEY);
        request.timeout(SOON).send()
    });
    while !posting.is_finished() {
        assert!(open().await <= 4.0);
        tokio::task::yield_now().await;
    }
    assert_eq!(posting.await.unwrap().unwrap().status(), 200);
}

/// The one that was answered is finished; SIGTERM loses nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_under_way_is_answered_when_it_stops() {
    let (_world, mut program) = impatient(&[("VOD_COVER__INTAKE__ANSWER_WITHIN", "4s")]).await;
    let request = with_length(&program, &String::from_utf8(event(1, 1)).unwrap());
    let (begin, rest) = request.split_at(request.len() - 5);
    let mut stream = connect(&program).await;
    stream.write_all(begin).await.unwrap();
    let begun = async || program.metric("vod_cover_intake_connections", "").await == 1.0;
    eventually("it is being read", SOON, begun).await;
    program.signal("TERM");
    eventually("it stops", SOON, async || program.log().contains("stopping")).await;
    eventually("nobody else is let in", SOON, async || {
        TcpStream::connect(program.intake).await.is_err()
    })
    .await;
    stream.write_all(rest).await.unwrap();
    assert!(until_closed(&mut stream).await.starts_with("HTTP/1.1 200 "));
    assert!(program.ended(SOON).await);
}
