;;! target = "x86_64"
;;! test = "compile"
;;! flags = "-W fuel=1,epoch-interruption=y"

;; The checks at a function's entry are ordinary calls.
(module
  (func $add (param f64 f64) (result f64)
    (f64.add (local.get 0) (local.get 1))))

;; wasm[0]::function[0]::add:
;;       pushq   %rbp
;;       movq    %rsp, %rbp
;;       movq    8(%rdi), %r10
;;       movq    0x18(%r10), %r10
;;       addq    $0x50, %r10
;;       cmpq    %rsp, %r10
;;       ja      0xbb
;;   19: subq    $0x40, %rsp
;;       movq    %rbx, 0x20(%rsp)
;;       movq    %r12, 0x28(%rsp)
;;       movq    %r13, 0x30(%rsp)
;;       movdqu  %xmm1, (%rsp)
;;       movdqu  %xmm0, 0x10(%rsp)
;;       movq    8(%rdi), %rbx
;;       movq    %rdi, %r13
;;       movq    (%rbx), %rcx
;;       leaq    1(%rcx), %r12
;;       testq   %r12, %r12
;;       jge     0x56
;;   4e: movq    %r13, %rdi
;;       jmp     0x6e
;;   56: addq    $1, %rcx
;;       movq    %rcx, (%rbx)
;;       movq    %r13, %rdi
;;       callq   0x12b
;;       movq    (%rbx), %r12
;;       movq    %r13, %rdi
;;       movq    0x18(%rdi), %rax
;;       movq    (%rax), %rcx
;;       movq    8(%rbx), %rax
;;       cmpq    %rax, %rcx
;;       jae     0xb1
;;   82: leaq    3(%r12), %rax
;;       movq    %rax, (%rbx)
;;       movdqu  0x10(%rsp), %xmm0
;;       movdqu  (%rsp), %xmm1
;;       addsd   %xmm1, %xmm0
;;       movq    0x20(%rsp), %rbx
;;       movq    0x28(%rsp), %r12
;;       movq    0x30(%rsp), %r13
;;       addq    $0x40, %rsp
;;       movq    %rbp, %rsp
;;       popq    %rbp
;;       retq
;;   b1: callq   0x18a
;;   b6: jmp     0x82
;;   bb: ud2
