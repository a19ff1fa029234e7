//! A WCCP message: what can be read can be written, and means the same again.

use tidegate::wccp::Password;
use tidegate::wccp::message::{Message, parse};

pub fn body(data: &[u8]) {
    let password = Password::new(b"secret1").expect("a password");
    for password in [None, Some(&password)] {
        let Ok(message) = parse(data, password) else { continue };
        let again = message.emit(password).expect("no longer than it was");
        let same = parse(&again, password).expect("what we write, we read");
        assert_eq!(same, message);
    }
    // One that is signed is hardly ever found by chance: read it as if it were.
    if let Ok(message) = parse(data, None).and_then(|m| parse(&sign(&m, &password), Some(&password))) {
        assert!(message.emit(None).is_ok());
    }
}

fn sign(message: &Message, password: &Password) -> Vec<u8> {
    message.emit(Some(password)).expect("no longer than it was")
}
