;;! target = "x86_64"
;;! test = "compile"
;;! flags = "-W fuel=1"

;; The sum stays in a register from one turn of the loop to the next: when there
;; is no fuel left, a trampoline is called that preserves all registers.
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
;;       ja      0xd2
;;   19: subq    $0x20, %rsp
;;       movq    %rbx, (%rsp)
;;       movq    %r12, 8(%rsp)
;;       movq    %r13, 0x10(%rsp)
;;       movq    %rdx, %r13
;;       movq    8(%rdi), %r12
;;       movq    (%r12), %rcx
;;       leaq    1(%rcx), %r9
;;       testq   %r9, %r9
;;       jge     0x4b
;;   43: movq    %rdi, %rbx
;;       jmp     0x62
;;   4b: addq    $1, %rcx
;;       movq    %rcx, (%r12)
;;       movq    %rdi, %rbx
;;       callq   0x140
;;       movq    (%r12), %r9
;;       xorpd   %xmm0, %xmm0
;;       movq    0x38(%rbx), %rcx
;;       movq    %r9, (%r12)
;;       testq   %r9, %r9
;;       jge     0xbe
;;   77: movq    %r13, %rdx
;;       movl    %edx, %eax
;;       movsd   (%rcx, %rax), %xmm1
;;       subl    $8, %edx
;;       leaq    0xa(%r9), %rsi
;;       addsd   %xmm1, %xmm0
;;       testl   %edx, %edx
;;       je      0x9f
;;   94: movq    %rsi, %r9
;;       movq    %rdx, %r13
;;       jmp     0x6a
;;   9f: leaq    0xb(%r9), %rax
;;       movq    %rax, (%r12)
;;       movq    (%rsp), %rbx
;;       movq    8(%rsp), %r12
;;       movq    0x10(%rsp), %r13
;;       addq    $0x20, %rsp
;;       movq    %rbp, %rsp
;;       popq    %rbp
;;       retq
;;   be: movq    %rbx, %rdi
;;   c1: callq   0x19f
;;   c6: movq    (%r12), %r9
;;   ca: movq    %r13, %rdx
;;   cd: jmp     0x7a
;;   d2: ud2
