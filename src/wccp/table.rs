//! An assignment in either form, and one cache's part of it.

use super::component::{AlternateBody, AssignmentInfo, HashTable};
use super::element::{AssignmentKey, Bitmap, RouterAssignment};
use super::mask::{self, MaskTable, Side};
use super::message::Redirect;
use super::settings::Assignment;
use super::{component::AlternateAssignment, element::MaskValueSet};
use std::net::Ipv4Addr;

/// Who gets what, by hash or by mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Table {
    Hash(HashTable),
    Mask(MaskTable),
}

impl Table {
    pub(super) const fn method(&self) -> Assignment {
        match self {
            Self::Hash(_) => Assignment::Hash,
            Self::Mask(_) => Assignment::Mask,
        }
    }

    pub(super) fn caches(&self) -> &[Ipv4Addr] {
        match self {
            Self::Hash(table) => &table.caches,
            Self::Mask(table) => table.caches(),
        }
    }

    pub(super) fn share_of(&self, cache: Ipv4Addr) -> Share {
        match self {
            Self::Hash(table) => Share::Buckets(table.buckets_of(cache)),
            Self::Mask(table) => Share::of_map(&table.sets(Side::Source), cache),
        }
    }

    /// As a REDIRECT_ASSIGN has it.
    pub(super) fn redirect(
        &self,
        key: AssignmentKey,
        routers: Vec<RouterAssignment>,
        side: Side,
    ) -> Redirect {
        match self {
            Self::Hash(table) => Redirect::Info(AssignmentInfo { key, routers, table: table.clone() }),
            Self::Mask(table) => {
                let body = AlternateBody::Mask(table.sets(side));
                Redirect::Alternate(AlternateAssignment { key, routers, body })
            }
        }
    }
}

/// One cache's part of an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Buckets(Bitmap),
    Values { count: u32, of: u32 },
}

impl Share {
    pub(super) const NONE: Self = Self::Buckets(Bitmap([0; 32]));

    pub(super) fn of_map(sets: &[MaskValueSet], cache: Ipv4Addr) -> Self {
        let (count, of) = mask::share(sets, cache);
        Self::Values { count, of }
    }

    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Buckets(bitmap) => bitmap.count(),
            Self::Values { count, .. } => *count,
        }
    }

    pub(super) const fn of(&self) -> u32 {
        match self {
            Self::Buckets(_) => 256,
            Self::Values { of, .. } => *of,
        }
    }

    pub(super) fn bitmap(&self) -> Bitmap {
        match self {
            Self::Buckets(bitmap) => *bitmap,
            Self::Values { .. } => Bitmap::default(),
        }
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = match self {
            Self::Buckets(_) => "buckets",
            Self::Values { .. } => "values",
        };
        write!(f, "{} of {} {unit} are ours", self.count(), self.of())
    }
}
