//! The first frame of each side. The key already says who the peer is; the hello says whether it speaks
//! our version, in our network, and believes itself to be who we believe it is.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::fault::Fault;
use super::frame::{Frame, FrameError, Hello, Kind};
use super::reader::{FrameReader, ReadError};
use super::tls;

/// Says our hello and judges that of `party`.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    ours: Hello,
    party: u16,
) -> Result<(), Fault> {
    // The peer may have refused us and gone, so that writing fails; reading then says why.
    let written = async {
        stream.write_all(&Frame::Hello(ours).encode()).await?;
        stream.flush().await
    }
    .await;
    let frame = FrameReader::new(stream).next().await.map_err(|error| match (error, &written) {
        (ReadError::Io(error), _) if tls::refused_us(&error) => Fault::RefusedUs,
        (ReadError::Io(_) | ReadError::Closed, Err(error)) => Fault::Lost(error.to_string()),
        (error, _) => error.into(),
    })?;
    let kind = match frame {
        Frame::Hello(theirs) => return judge(ours, theirs, party),
        Frame::Close(reason) => return Err(Fault::ClosedBy(reason)),
        Frame::Message(_) => Kind::Message,
        Frame::Ping(_) => Kind::Ping,
        Frame::Pong(_) => Kind::Pong,
    };
    Err(Fault::Frame(FrameError::HelloMissing(kind)))
}

fn judge(ours: Hello, theirs: Hello, party: u16) -> Result<(), Fault> {
    if theirs.version != ours.version {
        return Err(Fault::Frame(FrameError::Version(theirs.version)));
    }
    if theirs.network != ours.network {
        return Err(Fault::OtherNetwork { theirs: theirs.network, ours: ours.network });
    }
    if theirs.party != party {
        return Err(Fault::OtherParty(theirs.party));
    }
    Ok(())
}
