//! A configuration: a good one says the same in its full form, a bad one is explained.

use std::path::Path;
use tidegate::config::parse;

pub fn body(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // It is read from wherever it is said to be.
    if text.contains("password_file") && text.contains('/') {
        return;
    }
    // Its full form hides it.
    let secret = text.contains("password");
    let file = Path::new("/nonexistent/fuzz.toml");
    match parse(text, file) {
        Ok(config) => {
            let full = config.effective_toml();
            assert!(config.effective_json().is_object());
            if secret {
                return;
            }
            let again = parse(&full, file).unwrap_or_else(|e| panic!("{e}\n{full}"));
            assert_eq!(again.effective_toml(), full);
        }
        Err(errors) => assert!(!errors.0.is_empty() && !errors.to_string().is_empty()),
    }
}
