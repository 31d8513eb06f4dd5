//! A tokio server for the tests of held ports: as small as one can be, and nothing of swrun in it.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn main() -> io::Result<()> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(format!("0.0.0.0:{port}")).await?;
        loop {
            let (mut client, _) = listener.accept().await?;
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
                if client.read(&mut request).await.is_ok() {
                    let _ = client.write_all(answer).await;
                    let _ = client.shutdown().await;
                }
            });
        }
    })
}
