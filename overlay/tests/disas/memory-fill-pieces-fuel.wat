;;! target = "x86_64"
;;! test = "optimize"
;;! flags = "-W fuel=1"

;; All of a long fill is looked at first, whether it is in bounds and whether there
;; is the fuel for it. It is charged piece by piece.
(module
  (memory 100)
  (func $any (param i32 i32 i32)
    (memory.fill (local.get 0) (local.get 1) (local.get 2)))
  (func $long (param i32 i32)
    (memory.fill (local.get 0) (local.get 1) (i32.const 0x100000))))

;; function u0:0(i64 vmctx, i64, i32, i32, i32) tail {
;;     region0 = 8 "VMContext+0x8"
;;     region1 = 67108888 "VMStoreContext+0x18"
;;     region2 = 67108864 "VMStoreContext+0x0"
;;     region3 = 603979776 "VMMemoryDefinition+0x0"
;;     region4 = 603979784 "VMMemoryDefinition+0x8"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned readonly can_move region0 gv0+8
;;     gv2 = load.i64 notrap aligned region1 gv1+24
;;     sig0 = (i64 vmctx) -> i8 tail
;;     sig1 = (i64 vmctx, i64) -> i8 tail
;;     sig2 = (i64 vmctx, i64, i32) -> i8 tail
;;     sig3 = (i64 vmctx, i64, i32, i64) tail
;;     fn0 = colocated u805306368:12 sig0
;;     fn1 = colocated u805306368:14 sig1
;;     fn2 = colocated u805306368:13 sig2
;;     fn3 = colocated u805306368:2 sig3
;;     stack_limit = gv2
;;
;;                                 block0(v0: i64, v1: i64, v2: i32, v3: i32, v4: i32):
;; @0024                               v5 = load.i64 notrap aligned readonly can_move region0 v0+8
;; @0024                               v6 = load.i64 notrap aligned region2 v5
;; @0024                               v7 = iconst.i64 1
;; @0024                               v8 = iadd v6, v7  ; v7 = 1
;; @0024                               v9 = iconst.i64 0
;; @0024                               v10 = icmp sge v8, v9  ; v9 = 0
;; @0024                               brif v10, block2, block3(v8)
;;
;;                                 block2:
;;                                     v97 = iadd.i64 v6, v7  ; v7 = 1
;; @0024                               store notrap aligned region2 v97, v5
;; @0024                               v12 = call fn0(v0)
;; @0024                               v14 = load.i64 notrap aligned region2 v5
;; @0024                               jump block3(v14)
;;
;;                                 block3(v18: i64):
;; @002b                               v21 = iconst.i32 0x0001_0000
;; @002b                               v22 = icmp.i32 ugt v4, v21  ; v21 = 0x0001_0000
;; @002b                               v19 = iconst.i64 4
;; @002b                               v20 = iadd v18, v19  ; v19 = 4
;; @002b                               v71 = iconst.i32 0
;; @002b                               v31 = load.i64 notrap aligned readonly can_move region3 v0+56
;; @002b                               brif v22, block4, block5(v4, v20)
;;
;;                                 block4 cold:
;; @002b                               v24 = load.i64 notrap aligned region4 v0+64
;; @002b                               v25 = uextend.i64 v2
;; @002b                               v26 = uextend.i64 v4
;; @002b                               v29 = iadd v25, v26
;; @002b                               v30 = icmp ugt v29, v24
;; @002b                               trapnz v30, heap_oob
;;                                     v98 = iadd.i64 v18, v19  ; v19 = 4
;; @002b                               store notrap aligned region2 v98, v5
;; @002b                               v40 = call fn1(v0, v26)
;; @002b                               v42 = load.i64 notrap aligned region2 v5
;; @002b                               jump block5(v4, v42)
;;
;;                                 block5(v43: i32, v65: i64):
;; @002b                               v50 = load.i64 notrap aligned region4 v0+64
;; @002b                               v47 = isub.i32 v4, v43
;; @002b                               v49 = iadd.i32 v2, v47
;; @002b                               v51 = uextend.i64 v49
;;                                     v99 = iconst.i32 0x0001_0000
;;                                     v100 = umin v43, v99  ; v99 = 0x0001_0000
;; @002b                               v52 = uextend.i64 v100
;; @002b                               v55 = iadd v51, v52
;; @002b                               v56 = icmp ugt v55, v50
;; @002b                               trapnz v56, heap_oob
;; @002b                               v66 = iadd v65, v52
;; @002b                               v67 = band v65, v66
;;                                     v101 = iconst.i64 0
;;                                     v102 = icmp sge v67, v101  ; v101 = 0
;; @002b                               brif v102, block7, block8(v66)
;;
;;                                 block7 cold:
;; @002b                               store.i64 notrap aligned region2 v65, v5
;;                                     v103 = iconst.i32 0
;; @002b                               v72 = call fn2(v0, v52, v103)  ; v103 = 0
;; @002b                               v74 = load.i64 notrap aligned region2 v5
;; @002b                               jump block8(v74)
;;
;;                                 block8(v89: i64):
;; @002b                               v75 = load.i64 notrap aligned region4 v0+64
;; @002b                               v81 = icmp.i64 ugt v55, v75
;; @002b                               trapnz v81, heap_oob
;; @002b                               store notrap aligned region2 v89, v5
;; @002b                               v61 = iadd.i64 v31, v51
;; @002b                               call fn3(v0, v61, v3, v52)
;; @002b                               v91 = load.i64 notrap aligned region2 v5
;; @002b                               v46 = isub.i32 v43, v100
;; @002b                               brif v46, block5(v46, v91), block6
;;
;;                                 block6:
;; @002e                               jump block1
;;
;;                                 block1:
;; @002e                               return
;; }
;;
;; function u0:1(i64 vmctx, i64, i32, i32) tail {
;;     region0 = 8 "VMContext+0x8"
;;     region1 = 67108888 "VMStoreContext+0x18"
;;     region2 = 67108864 "VMStoreContext+0x0"
;;     region3 = 603979776 "VMMemoryDefinition+0x0"
;;     region4 = 603979784 "VMMemoryDefinition+0x8"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned readonly can_move region0 gv0+8
;;     gv2 = load.i64 notrap aligned region1 gv1+24
;;     sig0 = (i64 vmctx) -> i8 tail
;;     sig1 = (i64 vmctx, i64) -> i8 tail
;;     sig2 = (i64 vmctx, i64, i32) -> i8 tail
;;     sig3 = (i64 vmctx, i64, i32, i64) tail
;;     fn0 = colocated u805306368:12 sig0
;;     fn1 = colocated u805306368:14 sig1
;;     fn2 = colocated u805306368:13 sig2
;;     fn3 = colocated u805306368:2 sig3
;;     stack_limit = gv2
;;
;;                                 block0(v0: i64, v1: i64, v2: i32, v3: i32):
;; @0030                               v4 = load.i64 notrap aligned readonly can_move region0 v0+8
;; @0030                               v5 = load.i64 notrap aligned region2 v4
;; @0030                               v6 = iconst.i64 1
;; @0030                               v7 = iadd v5, v6  ; v6 = 1
;; @0030                               v8 = iconst.i64 0
;; @0030                               v9 = icmp sge v7, v8  ; v8 = 0
;; @0030                               brif v9, block2, block3(v7)
;;
;;                                 block2:
;;                                     v120 = iadd.i64 v5, v6  ; v6 = 1
;; @0030                               store notrap aligned region2 v120, v4
;; @0030                               v11 = call fn0(v0)
;; @0030                               v13 = load.i64 notrap aligned region2 v4
;; @0030                               jump block3(v13)
;;
;;                                 block3(v17: i64):
;;                                     v121 = iconst.i32 0x0010_0000
;; @003a                               v20 = iconst.i32 0x0001_0000
;; @003a                               v70 = iconst.i32 0
;; @003a                               v30 = load.i64 notrap aligned readonly can_move region3 v0+56
;; @003a                               jump block4
;;
;;                                 block4 cold:
;; @003a                               v23 = load.i64 notrap aligned region4 v0+64
;; @003a                               v24 = uextend.i64 v2
;;                                     v98 = iconst.i64 0x0010_0000
;; @003a                               v28 = iadd v24, v98  ; v98 = 0x0010_0000
;; @003a                               v29 = icmp ugt v28, v23
;; @003a                               trapnz v29, heap_oob
;; @003a                               v18 = iconst.i64 4
;; @003a                               v19 = iadd.i64 v17, v18  ; v18 = 4
;; @003a                               store notrap aligned region2 v19, v4
;; @003a                               v39 = call fn1(v0, v98)  ; v98 = 0x0010_0000
;; @003a                               v41 = load.i64 notrap aligned region2 v4
;; @0035                               v16 = iconst.i32 0x0010_0000
;; @003a                               jump block5(v16, v41)  ; v16 = 0x0010_0000
;;
;;                                 block5(v42: i32, v64: i64):
;; @003a                               v49 = load.i64 notrap aligned region4 v0+64
;; @003a                               v46 = isub.i32 v121, v42  ; v121 = 0x0010_0000
;; @003a                               v48 = iadd.i32 v2, v46
;; @003a                               v50 = uextend.i64 v48
;;                                     v122 = iconst.i32 0x0001_0000
;;                                     v123 = umin v42, v122  ; v122 = 0x0001_0000
;; @003a                               v51 = uextend.i64 v123
;; @003a                               v54 = iadd v50, v51
;; @003a                               v55 = icmp ugt v54, v49
;; @003a                               trapnz v55, heap_oob
;; @003a                               v65 = iadd v64, v51
;; @003a                               v66 = band v64, v65
;;                                     v124 = iconst.i64 0
;;                                     v125 = icmp sge v66, v124  ; v124 = 0
;; @003a                               brif v125, block7, block8(v65)
;;
;;                                 block7 cold:
;; @003a                               store.i64 notrap aligned region2 v64, v4
;;                                     v126 = iconst.i32 0
;; @003a                               v71 = call fn2(v0, v51, v126)  ; v126 = 0
;; @003a                               v73 = load.i64 notrap aligned region2 v4
;; @003a                               jump block8(v73)
;;
;;                                 block8(v88: i64):
;; @003a                               v74 = load.i64 notrap aligned region4 v0+64
;; @003a                               v80 = icmp.i64 ugt v54, v74
;; @003a                               trapnz v80, heap_oob
;; @003a                               store notrap aligned region2 v88, v4
;; @003a                               v60 = iadd.i64 v30, v50
;; @003a                               call fn3(v0, v60, v3, v51)
;; @003a                               v90 = load.i64 notrap aligned region2 v4
;; @003a                               v45 = isub.i32 v42, v123
;; @003a                               brif v45, block5(v45, v90), block6
;;
;;                                 block6:
;; @003d                               jump block1
;;
;;                                 block1:
;; @003d                               return
;; }
