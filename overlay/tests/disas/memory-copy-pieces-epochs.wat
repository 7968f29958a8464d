;;! target = "x86_64"
;;! test = "optimize"
;;! flags = "-W epoch-interruption=y"

;; A long copy is done in pieces, from the last to the first if the destination is
;; behind the source, and the epoch is looked at before each piece. A short one of
;; constant length is a single operation.
(module
  (memory 100)
  (func $any (param i32 i32 i32)
    (memory.copy (local.get 0) (local.get 1) (local.get 2)))
  (func $short (param i32 i32)
    (memory.copy (local.get 0) (local.get 1) (i32.const 16))))

;; function u0:0(i64 vmctx, i64, i32, i32, i32) tail {
;;     region0 = 8 "VMContext+0x8"
;;     region1 = 67108888 "VMStoreContext+0x18"
;;     region2 = 24 "VMContext+0x18"
;;     region3 = 1744830464 "EpochCounter+0x0"
;;     region4 = 67108872 "VMStoreContext+0x8"
;;     region5 = 603979776 "VMMemoryDefinition+0x0"
;;     region6 = 603979784 "VMMemoryDefinition+0x8"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned readonly can_move region0 gv0+8
;;     gv2 = load.i64 notrap aligned region1 gv1+24
;;     sig0 = (i64 vmctx) -> i64 tail
;;     sig1 = (i64) preserve_all
;;     sig2 = (i64 vmctx, i64, i64, i64) tail
;;     fn0 = colocated u805306368:16 sig0
;;     fn1 = colocated u1073741824:16 sig1
;;     fn2 = colocated u805306368:1 sig2
;;     stack_limit = gv2
;;
;;                                 block0(v0: i64, v1: i64, v2: i32, v3: i32, v4: i32):
;; @0024                               v5 = load.i64 notrap aligned region2 v0+24
;; @0024                               v6 = load.i64 notrap aligned region3 v5
;; @0024                               v7 = load.i64 notrap aligned readonly can_move region0 v0+8
;; @0024                               v8 = load.i64 notrap aligned region4 v7+8
;; @0024                               v9 = icmp uge v6, v8
;; @0024                               brif v9, block3, block2(v8)
;;
;;                                 block3 cold:
;; @0024                               v10 = call fn0(v0)
;; @0024                               jump block2(v10)
;;
;;                                 block2(v86: i64):
;; @002b                               v14 = iconst.i32 0x0001_0000
;; @002b                               v15 = icmp.i32 ugt v4, v14  ; v14 = 0x0001_0000
;; @002b                               v16 = iconst.i8 0
;; @002b                               v24 = load.i64 notrap aligned readonly can_move region5 v0+56
;; @002b                               brif v15, block4, block5(v4, v16, v86)  ; v16 = 0
;;
;;                                 block4 cold:
;; @002b                               v17 = load.i64 notrap aligned region6 v0+64
;; @002b                               v18 = uextend.i64 v2
;; @002b                               v19 = uextend.i64 v4
;; @002b                               v22 = iadd v18, v19
;; @002b                               v23 = icmp ugt v22, v17
;; @002b                               trapnz v23, heap_oob
;; @002b                               v30 = uextend.i64 v3
;; @002b                               v34 = iadd v30, v19
;; @002b                               v35 = icmp ugt v34, v17
;; @002b                               trapnz v35, heap_oob
;; @002b                               v41 = icmp.i32 ugt v2, v3
;; @002b                               jump block5(v4, v41, v86)
;;
;;                                 block5(v42: i32, v43: i8, v52: i64):
;; @002b                               v51 = load.i64 notrap aligned region3 v5
;; @002b                               v53 = icmp uge v51, v52
;; @002b                               brif v53, block8, block7(v52)
;;
;;                                 block8 cold:
;; @002b                               v55 = load.i64 notrap aligned region4 v7+8
;; @002b                               v56 = icmp.i64 uge v51, v55
;; @002b                               brif v56, block9, block7(v55)
;;
;;                                 block9 cold:
;; @002b                               call fn1(v0)
;; @002b                               v58 = load.i64 notrap aligned region4 v7+8
;; @002b                               jump block7(v58)
;;
;;                                 block7(v87: i64):
;; @002b                               v59 = load.i64 notrap aligned region6 v0+64
;;                                     v95 = iconst.i32 0x0001_0000
;;                                     v96 = umin.i32 v42, v95  ; v95 = 0x0001_0000
;; @002b                               v45 = isub.i32 v42, v96
;; @002b                               v46 = isub.i32 v4, v42
;; @002b                               v47 = select v43, v45, v46
;; @002b                               v48 = iadd.i32 v2, v47
;; @002b                               v60 = uextend.i64 v48
;; @002b                               v61 = uextend.i64 v96
;; @002b                               v64 = iadd v60, v61
;; @002b                               v65 = icmp ugt v64, v59
;; @002b                               trapnz v65, heap_oob
;; @002b                               v49 = iadd.i32 v3, v47
;; @002b                               v72 = uextend.i64 v49
;; @002b                               v76 = iadd v72, v61
;; @002b                               v77 = icmp ugt v76, v59
;; @002b                               trapnz v77, heap_oob
;; @002b                               v70 = iadd.i64 v24, v60
;; @002b                               v82 = iadd.i64 v24, v72
;; @002b                               call fn2(v0, v70, v82, v61)
;; @002b                               brif v45, block5(v45, v43, v87), block6
;;
;;                                 block6:
;; @002f                               jump block1
;;
;;                                 block1:
;; @002f                               return
;; }
;;
;; function u0:1(i64 vmctx, i64, i32, i32) tail {
;;     region0 = 8 "VMContext+0x8"
;;     region1 = 67108888 "VMStoreContext+0x18"
;;     region2 = 24 "VMContext+0x18"
;;     region3 = 1744830464 "EpochCounter+0x0"
;;     region4 = 67108872 "VMStoreContext+0x8"
;;     region5 = 603979776 "VMMemoryDefinition+0x0"
;;     region6 = 603979784 "VMMemoryDefinition+0x8"
;;     region7 = 201326592 "DefinedMemory(StaticModuleIndex(0), DefinedMemoryIndex(0))"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned readonly can_move region0 gv0+8
;;     gv2 = load.i64 notrap aligned region1 gv1+24
;;     sig0 = (i64 vmctx) -> i64 tail
;;     fn0 = colocated u805306368:16 sig0
;;     stack_limit = gv2
;;
;;                                 block0(v0: i64, v1: i64, v2: i32, v3: i32):
;; @0031                               v4 = load.i64 notrap aligned region2 v0+24
;; @0031                               v5 = load.i64 notrap aligned region3 v4
;; @0031                               v6 = load.i64 notrap aligned readonly can_move region0 v0+8
;; @0031                               v7 = load.i64 notrap aligned region4 v6+8
;; @0031                               v8 = icmp uge v5, v7
;; @0031                               brif v8, block3, block2
;;
;;                                 block3 cold:
;; @0031                               v9 = call fn0(v0)
;; @0031                               jump block2
;;
;;                                 block2:
;; @0038                               v13 = load.i64 notrap aligned region6 v0+64
;; @0038                               v14 = uextend.i64 v2
;;                                     v39 = iconst.i64 16
;; @0038                               v18 = iadd v14, v39  ; v39 = 16
;; @0038                               v19 = icmp ugt v18, v13
;; @0038                               trapnz v19, heap_oob
;; @0038                               v26 = uextend.i64 v3
;; @0038                               v30 = iadd v26, v39  ; v39 = 16
;; @0038                               v31 = icmp ugt v30, v13
;; @0038                               trapnz v31, heap_oob
;; @0038                               v20 = load.i64 notrap aligned readonly can_move region5 v0+56
;; @0038                               v36 = iadd v20, v26
;; @0038                               v38 = load.i8x16 notrap aligned little region7 v36
;; @0038                               v24 = iadd v20, v14
;; @0038                               store notrap aligned little region7 v38, v24
;; @003c                               jump block1
;;
;;                                 block1:
;; @003c                               return
;; }
