;;! target = "x86_64"
;;! test = "compile"
;;! flags = "-W epoch-interruption=y"

;; The sum stays in a register from one turn of the loop to the next: when the
;; deadline has passed, a trampoline is called that preserves all registers.
(module
  (memory 1)
  (func $sum (param $i i32) (result f64) (local $sum f64)
    (loop $again
      (local.set $sum
        (f64.add (local.get $sum) (f64.load (local.get $i))))
      (br_if $again
        (local.tee $i (i32.sub (local.get $i) (i32.const 8)))))
    (local.get $sum)))

;; wasm[0]::function[0]::sum:
;;       pushq   %rbp
;;       movq    %rsp, %rbp
;;       movq    8(%rdi), %r10
;;       movq    0x18(%r10), %r10
;;       addq    $0x30, %r10
;;       cmpq    %rsp, %r10
;;       ja      0xd7
;;   19: subq    $0x20, %rsp
;;       movq    %rbx, (%rsp)
;;       movq    %r12, 8(%rsp)
;;       movq    %r13, 0x10(%rsp)
;;       movq    %r14, 0x18(%rsp)
;;       movq    %rdx, %r14
;;       movq    0x18(%rdi), %r12
;;       movq    (%r12), %rcx
;;       movq    8(%rdi), %rbx
;;       movq    8(%rbx), %rax
;;       cmpq    %rax, %rcx
;;       jae     0xa9
;;   4c: movq    %rdi, %r13
;;       xorpd   %xmm0, %xmm0
;;       movq    0x38(%r13), %rcx
;;       movq    (%r12), %rdx
;;       cmpq    %rax, %rdx
;;       jae     0xb6
;;   64: movq    %r14, %rdx
;;       jmp     0x6f
;;   6c: movq    %r14, %rdx
;;       movl    %edx, %esi
;;       movsd   (%rcx, %rsi), %xmm1
;;       subl    $8, %edx
;;       addsd   %xmm1, %xmm0
;;       testl   %edx, %edx
;;       je      0x8d
;;   85: movq    %rdx, %r14
;;       jmp     0x57
;;   8d: movq    (%rsp), %rbx
;;       movq    8(%rsp), %r12
;;       movq    0x10(%rsp), %r13
;;       movq    0x18(%rsp), %r14
;;       addq    $0x20, %rsp
;;       movq    %rbp, %rsp
;;       popq    %rbp
;;       retq
;;   a9: movq    %rdi, %r13
;;   ac: callq   0x145
;;   b1: jmp     0x4f
;;   b6: movq    8(%rbx), %rax
;;   ba: cmpq    %rax, %rdx
;;   bd: jb      0x6c
;;   c3: movq    %r13, %rdi
;;   c6: callq   0x1a9
;;   cb: movq    8(%rbx), %rax
;;   cf: movq    %r14, %rdx
;;   d2: jmp     0x6f
;;   d7: ud2
