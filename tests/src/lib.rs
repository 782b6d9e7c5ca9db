//! Shared helpers of the tests across floors.
