//! Bytes of packets: offsets proven once, fields read and edited in place, checksums.
