//! The kinds of abuse, each bounded in number and in time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// One of them. `abuse` goes on until it is told to end, and says what it did, or what went wrong.
pub struct Kind {
    pub name: &'static str,
    pub abuse: fn(SocketAddr, Duration, &AtomicBool) -> Result<String, String>,
    /// How many times longer than others it takes when there is time.
    pub long: u32,
}

pub const KINDS: &[Kind] = &[
    Kind {
        name: "10,000 clients who are only there",
        abuse: crowd,
        long: 1,
    },
    Kind {
        name: "1,000 connects and disconnects a second",
        abuse: storm,
        long: 3,
    },
    Kind {
        name: "1,000,000 GETs of 16 KiB, never read",
        abuse: |addr, _, ends| deaf(addr, 1, ends),
        long: 1,
    },
    Kind {
        name: "the same, fifty times",
        abuse: |addr, _, ends| deaf(addr, 50, ends),
        long: 1,
    },
    Kind {
        name: "100 clients with a byte a second",
        abuse: slow,
        long: 1,
    },
    Kind {
        name: "claims of 4 GiB, and of too many arguments",
        abuse: claims,
        long: 1,
    },
    Kind {
        name: "SET of 400 MiB",
        abuse: huge,
        long: 1,
    },
    Kind {
        name: "100 times half of a SET of 10 MiB",
        abuse: halves,
        long: 1,
    },
];

fn crowd(addr: SocketAddr, _length: Duration, ends: &AtomicBool) -> Result<String, String> {
    const CLIENTS: usize = 10_000;
    let mut clients = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        let mut client = connect(addr).map_err(|e| format!("client {number}: {e}"))?;
        if number % 100 == 0 {
            ping(&mut client)?;
        }
        clients.push(client);
    }
    wait(ends);
    for client in clients.iter_mut().step_by(99) {
        ping(client)?;
    }
    Ok(format!("{CLIENTS} connected"))
}

fn storm(addr: SocketAddr, length: Duration, ends: &AtomicBool) -> Result<String, String> {
    const A_SECOND: u32 = 1_000;
    let began = Instant::now();
    let mut done = 0;
    while !ends.load(Ordering::Relaxed) && began.elapsed() < length + Duration::from_secs(1) {
        let due = Duration::from_secs(1) * done / A_SECOND;
        if let Some(early) = due.checked_sub(began.elapsed()) {
            thread::sleep(early);
        }
        let mut client = connect(addr).map_err(|e| format!("connection {done}: {e}"))?;
        // Some say something first, some leave without a word.
        if done % 2 == 0 {
            ping(&mut client)?;
        }
        done += 1;
    }
    let a_second = f64::from(done) / began.elapsed().as_secs_f64();
    Ok(format!("{done}, {a_second:.0}/s"))
}

fn deaf(addr: SocketAddr, clients: usize, ends: &AtomicBool) -> Result<String, String> {
    let taken: Vec<(usize, bool)> = thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| deaf_client(addr, ends)))
            .collect();
        clients.into_iter().map(|c| c.join().unwrap()).collect()
    });
    let sent: usize = taken.iter().map(|(sent, _)| sent).sum();
    let cut = taken.iter().filter(|(_, cut)| *cut).count();
    Ok(format!("{sent} sent, {cut} cut"))
}

/// How many requests were taken from it, and whether it was cut.
fn deaf_client(addr: SocketAddr, ends: &AtomicBool) -> (usize, bool) {
    const GETS: usize = 1_000_000;
    const BATCH: usize = 100;
    const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\n";
    let Ok(mut client) = connect(addr) else {
        return (0, true);
    };
    let batch = GET.repeat(BATCH);
    let (mut bytes, mut cut) = (0, false);
    while bytes < GETS * GET.len() && !cut && !ends.load(Ordering::Relaxed) {
        // What is left of a batch after a short write goes first.
        match client.write(&batch[bytes % batch.len()..]) {
            Ok(n) => bytes += n,
            Err(error) => cut = !is_pause(&error),
        }
    }
    wait(ends);
    (bytes / GET.len(), cut)
}

fn slow(addr: SocketAddr, _length: Duration, ends: &AtomicBool) -> Result<String, String> {
    const REQUEST: &[u8] = b"*1\r\n$4\r\nPING\r\n";
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(connect(addr).map_err(|e| e.to_string())?);
    }
    let mut sent = 0;
    while !ends.load(Ordering::Relaxed) {
        for client in &mut clients {
            let byte = &REQUEST[sent % REQUEST.len()..][..1];
            client.write_all(byte).map_err(|e| e.to_string())?;
        }
        sent += 1;
        pause(Duration::from_secs(1), ends);
    }
    for client in &mut clients {
        let rest = &REQUEST[sent % REQUEST.len()..];
        let whole = sent / REQUEST.len() + usize::from(rest.len() < REQUEST.len());
        client.write_all(rest).map_err(|e| e.to_string())?;
        let mut replies = vec![0; 7 * whole.max(1)];
        client.read_exact(&mut replies).map_err(|e| e.to_string())?;
    }
    Ok(format!("{sent} bytes each, all answered"))
}

fn claims(addr: SocketAddr, _length: Duration, ends: &AtomicBool) -> Result<String, String> {
    const BULK: &[u8] = b"-ERR Protocol error: invalid bulk length\r\n";
    const ARGUMENTS: &[u8] = b"-ERR Protocol error: invalid multibulk length\r\n";
    let mut count = 0;
    while !ends.load(Ordering::Relaxed) {
        for (claim, expected) in [
            (&b"*2\r\n$3\r\nGET\r\n$4294967296\r\n"[..], BULK),
            (b"*4294967296\r\n", ARGUMENTS),
        ] {
            let mut client = connect(addr).map_err(|e| e.to_string())?;
            client.write_all(claim).map_err(|e| e.to_string())?;
            let mut said = Vec::new();
            client.read_to_end(&mut said).map_err(|e| e.to_string())?;
            if said != expected {
                return Err(format!("got {}", said.escape_ascii()));
            }
            count += 1;
        }
        // The largest that servers allow, and then nothing.
        let mut client = connect(addr).map_err(|e| e.to_string())?;
        client
            .write_all(b"*1000000\r\n$536870912\r\n")
            .map_err(|e| e.to_string())?;
        pause(Duration::from_millis(20), ends);
    }
    Ok(format!("{count} refused"))
}

fn huge(addr: SocketAddr, _length: Duration, ends: &AtomicBool) -> Result<String, String> {
    const BYTES: usize = 400 << 20;
    let mut client = connect(addr).map_err(|e| e.to_string())?;
    let head = format!("*3\r\n$3\r\nSET\r\n$4\r\nhuge\r\n${BYTES}\r\n");
    client
        .write_all(head.as_bytes())
        .map_err(|e| e.to_string())?;
    let (chunk, mut sent) = (vec![b'x'; 64 * 1024], 0);
    while sent < BYTES {
        match client.write(&chunk) {
            Ok(n) => sent += n,
            Err(error) if is_pause(&error) && !ends.load(Ordering::Relaxed) => {}
            Err(_) => break,
        }
    }
    wait(ends);
    if sent < BYTES {
        Ok(format!("cut after {} MiB", sent >> 20))
    } else {
        Err("it was taken whole".to_owned())
    }
}

fn halves(addr: SocketAddr, _length: Duration, ends: &AtomicBool) -> Result<String, String> {
    const BYTES: usize = 10 << 20;
    let head = format!("*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n${BYTES}\r\n");
    let half = vec![b'x'; BYTES / 2];
    let (mut clients, mut whole) = (Vec::new(), 0);
    for _ in 0..100 {
        let mut client = connect(addr).map_err(|e| e.to_string())?;
        let mut sent = client.write_all(head.as_bytes()).is_ok();
        let mut left = &half[..];
        while sent && !left.is_empty() && !ends.load(Ordering::Relaxed) {
            match client.write(left) {
                Ok(n) => left = &left[n..],
                // Not read from at the moment: the next one.
                Err(error) if is_pause(&error) => break,
                Err(_) => sent = false,
            }
        }
        whole += usize::from(left.is_empty());
        clients.push(client);
    }
    wait(ends);
    Ok(format!("{whole} taken"))
}

fn connect(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let client = TcpStream::connect_timeout(&addr, Duration::from_secs(10))?;
    client.set_write_timeout(Some(Duration::from_millis(100)))?;
    client.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(client)
}

fn ping(client: &mut TcpStream) -> Result<(), String> {
    let mut reply = [0; 7];
    client.write_all(b"PING\r\n").map_err(|e| e.to_string())?;
    client.read_exact(&mut reply).map_err(|e| e.to_string())?;
    (&reply == b"+PONG\r\n")
        .then_some(())
        .ok_or_else(|| reply.escape_ascii().to_string())
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn wait(ends: &AtomicBool) {
    pause(Duration::from_secs(3600), ends);
}

fn pause(time: Duration, ends: &AtomicBool) {
    let until = Instant::now() + time;
    while Instant::now() < until && !ends.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(5).min(time));
    }
}
