//! An assembler for BPF: the instructions that our programs are made of, and jumps by name.
//!
//! Source: Linux, Documentation/bpf/standardization/instruction-set.rst.

use crate::sys::bpf::Instruction;

/// Instructions, and jumps whose places are not known yet.
#[derive(Debug)]
pub struct Assembler<Label> {
    code: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
    labels: Vec<(Label, usize)>,
}

impl<Label> Default for Assembler<Label> {
    fn default() -> Self {
        Self { code: Vec::new(), jumps: Vec::new(), labels: Vec::new() }
    }
}

/// The helpers that more than one program calls (`enum bpf_func_id`).
const MAP_LOOKUP: i32 = 1;
/// The number of the network namespace that the context belongs to.
const NETNS_COOKIE: i32 = 122;

impl<Label: Copy + PartialEq> Assembler<Label> {
    pub fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: i32) {
        let registers = to | from << 4;
        self.code.push(Instruction { code, registers, offset, immediate });
    }

    /// `to = immediate`, sign-extended.
    pub fn set(&mut self, to: u8, immediate: i32) {
        self.push(0xb7, to, 0, 0, immediate);
    }

    /// `to = from`.
    pub fn copy(&mut self, to: u8, from: u8) {
        self.push(0xbf, to, from, 0, 0);
    }

    /// `to = top of the stack + offset`.
    pub fn address(&mut self, to: u8, offset: i16) {
        self.copy(to, 10);
        self.push(0x07, to, 0, 0, offset.into());
    }

    /// `to = 64 bits`: two instructions. `kind` 1: a map by its descriptor.
    pub fn wide(&mut self, to: u8, kind: u8, value: u64) {
        let low = (value & 0xffff_ffff) as u32;
        self.push(0x18, to, kind, 0, low.cast_signed());
        self.push(0, 0, 0, 0, ((value >> 32) as u32).cast_signed());
    }

    pub fn map(&mut self, to: u8, descriptor: i32) {
        self.wide(to, 1, u64::from(descriptor.cast_unsigned()));
    }

    /// `to = *(u32 *)(from + offset)`.
    pub fn load32(&mut self, to: u8, from: u8, offset: i16) {
        self.push(0x61, to, from, offset, 0);
    }

    pub fn load64(&mut self, to: u8, from: u8, offset: i16) {
        self.push(0x79, to, from, offset, 0);
    }

    /// `*(u32 *)(stack + offset) = from`.
    pub fn keep32(&mut self, offset: i16, from: u8) {
        self.push(0x63, 10, from, offset, 0);
    }

    pub fn keep64(&mut self, offset: i16, from: u8) {
        self.push(0x7b, 10, from, offset, 0);
    }

    /// `*(u32 *)(stack + offset) = immediate`.
    pub fn put32(&mut self, offset: i16, immediate: i32) {
        self.push(0x62, 10, 0, offset, immediate);
    }

    pub fn call(&mut self, helper: i32) {
        self.push(0x85, 0, 0, 0, helper);
    }

    /// `r0 = the value of the key at the stack's top + key, or 0`.
    pub fn look_up(&mut self, map: i32, key: i16) {
        self.map(1, map);
        self.address(2, key);
        self.call(MAP_LOOKUP);
    }

    /// Goes on in the network namespace of `cookie` alone; the context is in R6.
    pub fn jump_elsewhere(&mut self, cookie: u64, to: Label) {
        self.copy(1, 6);
        self.call(NETNS_COOKIE);
        self.wide(1, 0, cookie);
        self.jump_if_other(0, 1, to);
    }

    pub fn jump(&mut self, code: u8, left: u8, right: u8, immediate: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(code, left, right, 0, immediate);
    }

    pub fn jump_if_zero(&mut self, register: u8, to: Label) {
        self.jump(0x15, register, 0, 0, to);
    }

    pub fn jump_if_not_zero(&mut self, register: u8, to: Label) {
        self.jump_unless(register, 0, to);
    }

    pub fn jump_if_equal(&mut self, left: u8, right: u8, to: Label) {
        self.jump(0x1d, left, right, 0, to);
    }

    pub fn jump_if_other(&mut self, left: u8, right: u8, to: Label) {
        self.jump(0x5d, left, right, 0, to);
    }

    /// `*(u64 *)(to + offset) += from`, at once for all CPUs.
    pub fn add(&mut self, to: u8, offset: i16, from: u8) {
        self.push(0xdb, to, from, offset, 0);
    }

    pub fn jump_unless(&mut self, register: u8, immediate: i32, to: Label) {
        self.jump(0x55, register, 0, immediate, to);
    }

    pub fn go(&mut self, to: Label) {
        self.jump(0x05, 0, 0, 0, to);
    }

    pub fn label(&mut self, label: Label) {
        self.labels.push((label, self.code.len()));
    }

    pub fn end(&mut self, verdict: i32) {
        self.set(0, verdict);
        self.push(0x95, 0, 0, 0, 0);
    }

    pub fn finish(mut self) -> Vec<Instruction> {
        for (from, label) in self.jumps {
            let place =
                self.labels.iter().find(|(name, _)| *name == label).map(|(_, place)| *place);
            // From the instruction after the jump on. A label that is nowhere leads to the jump itself,
            // which the verifier refuses as an endless loop.
            let distance = place.and_then(|place| i16::try_from(place).ok()).unwrap_or(0)
                - i16::try_from(from).unwrap_or(0)
                - 1;
            if let Some(jump) = self.code.get_mut(from) {
                jump.offset = distance;
            }
        }
        self.code
    }
}
