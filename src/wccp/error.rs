//! Why a message was not taken: one variant for each cause, each with the name of its counter.

/// An enum whose variants carry a counter's name and a text for people, and a list of all of them.
macro_rules! causes {
    ($(#[$outer:meta])* $enum:ident { $($variant:ident = $name:literal, $text:literal;)+ }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum $enum {
            $(#[doc = $text] #[error($text)] $variant,)+
        }

        impl $enum {
            /// Every variant, in the order of `self as usize`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Name of this cause's counter: stable, snake case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

causes! {
    /// A datagram is not a message that we can believe.
    ParseError {
        TooShort = "too_short", "the datagram is shorter than a message header";
        UnknownMessage = "unknown_message", "the message type is none of 10 to 13";
        Version = "version", "the version is not 0x0200";
        LengthBeyondEnd = "length_beyond_end", "the header's length goes beyond the datagram";
        TrailingBytes = "trailing_bytes", "bytes follow after the message";
        ComponentHeader = "component_header", "a component's header is cut off";
        ComponentBeyondEnd = "component_beyond_end", "a component goes beyond the message";
        ComponentAlignment = "component_alignment", "a component's length is no multiple of 4";
        ComponentShort = "component_short", "a component ends before its last field";
        ComponentExcess = "component_excess", "bytes follow after a component's last field";
        DuplicateComponent = "duplicate_component", "a component occurs twice";
        MissingComponent = "missing_component", "a component that the message must have is absent";
        AddressTable = "address_table", "an address table (version 2.01) makes addresses ambiguous";
        SecurityLength = "security_length", "the security component's length does not fit its option";
        SecurityUnknown = "security_unknown", "the security option is neither none nor MD5";
        SecurityDiffers = "security_differs", "one end uses MD5 and the other does not";
        Digest = "digest", "the MD5 digest is wrong";
        ServiceType = "service_type", "the service is neither standard nor dynamic";
        CountBeyondEnd = "count_beyond_end", "a count promises more elements than there are bytes";
        TooMany = "too_many", "more than 32 routers or caches";
        DataType = "data_type", "a cache's assignment data has an unknown type";
        CapabilityLength = "capability_length", "a forwarding, assignment or return capability is not 4 bytes";
        CapabilityBeyondEnd = "capability_beyond_end", "a capability goes beyond its component";
        CommandBeyondEnd = "command_beyond_end", "a command goes beyond its component";
        AssignmentLength = "assignment_length", "the alternate assignment's inner length is wrong";
        AssignmentType = "assignment_type", "the alternate assignment is neither hash nor mask";
        TwoAssignments = "two_assignments", "both forms of assignment in one message";
        BucketIndex = "bucket_index", "a bucket names a cache that is not in the list";
    }
}

causes! {
    /// A well-formed message that changes nothing here.
    Ignored {
        UnknownRouter = "unknown_router", "the sender is not one of our routers";
        WrongMessage = "wrong_message", "the message is one that only a router takes";
        UnknownService = "unknown_service", "the service is none of ours";
        ServiceDiffers = "service_differs", "the router describes the service otherwise than we do";
        NotForUs = "not_for_us", "the message is meant for other caches";
        ReceiveIdZero = "receive_id_zero", "the router's receive ID is 0";
        RouterIdTaken = "router_id_taken", "another router has the same router ID";
        Quiet = "quiet", "the router was rejected and is left alone for a while";
        QueryBusy = "query_busy", "an earlier removal query is still being answered";
        Left = "left", "we have left the group";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_own_counter() {
        let mut names: Vec<&str> = ParseError::ALL.iter().map(|e| e.name()).collect();
        names.extend(Ignored::ALL.iter().map(|e| e.name()));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for (index, cause) in ParseError::ALL.iter().enumerate() {
            assert_eq!(*cause as usize, index);
        }
    }
}
