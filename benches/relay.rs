//! The least that can stand between a client and a server: takes what one says and says it to the other, by turns, in a
//! thread for each client. `relay LISTEN_PORT SERVER_PORT`, for `benches/compare.sh`: no proxy can be quicker than this.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() -> io::Result<()> {
    let ports: Vec<u16> = std::env::args()
        .filter_map(|word| word.parse().ok())
        .collect();
    let &[listen, server] = ports.as_slice() else {
        // As `cargo bench` calls it.
        return Ok(());
    };
    for client in TcpListener::bind(("127.0.0.1", listen))?.incoming() {
        let (client, server) = (client?, TcpStream::connect(("127.0.0.1", server))?);
        std::thread::spawn(move || relay(client, server));
    }
    Ok(())
}

/// Ends when either side does.
fn relay(mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
    let mut bytes = [0; 64 * 1024];
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    loop {
        let asked = client.read(&mut bytes)?;
        server.write_all(&bytes[..asked])?;
        let said = server.read(&mut bytes)?;
        client.write_all(&bytes[..said])?;
        if asked == 0 || said == 0 {
            return Ok(());
        }
    }
}
