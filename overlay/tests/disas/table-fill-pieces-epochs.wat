;;! target = "x86_64"
;;! test = "optimize"
;;! flags = "-W epoch-interruption=y"

(module
  (table 10 funcref)
  (func $fill (param i32 funcref i32)
    (table.fill (local.get 0) (local.get 1) (local.get 2))))

;; function u0:0(i64 vmctx, i64, i32, i64, i32) tail {
;;     region0 = 8 "VMContext+0x8"
;;     region1 = 67108888 "VMStoreContext+0x18"
;;     region2 = 24 "VMContext+0x18"
;;     region3 = 1744830464 "EpochCounter+0x0"
;;     region4 = 67108872 "VMStoreContext+0x8"
;;     region5 = 671088640 "VMTableDefinition+0x0"
;;     region6 = 671088648 "VMTableDefinition+0x8"
;;     region7 = 335544320 "DefinedTable(StaticModuleIndex(0), DefinedTableIndex(0))"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned readonly can_move region0 gv0+8
;;     gv2 = load.i64 notrap aligned region1 gv1+24
;;     sig0 = (i64 vmctx) -> i64 tail
;;     sig1 = (i64) preserve_all
;;     fn0 = colocated u805306368:16 sig0
;;     fn1 = colocated u1073741824:16 sig1
;;     stack_limit = gv2
;;
;;                                 block0(v0: i64, v1: i64, v2: i32, v3: i64, v4: i32):
;; @001f                               v5 = load.i64 notrap aligned region2 v0+24
;; @001f                               v6 = load.i64 notrap aligned region3 v5
;; @001f                               v7 = load.i64 notrap aligned readonly can_move region0 v0+8
;; @001f                               v8 = load.i64 notrap aligned region4 v7+8
;; @001f                               v9 = icmp uge v6, v8
;; @001f                               brif v9, block3, block2(v8)
;;
;;                                 block3 cold:
;; @001f                               v10 = call fn0(v0)
;; @001f                               jump block2(v10)
;;
;;                                 block2(v77: i64):
;; @0026                               v14 = iconst.i32 8192
;; @0026                               v15 = icmp.i32 ugt v4, v14  ; v14 = 8192
;;                                     v81 = iconst.i64 0
;;                                     v83 = iconst.i64 3
;; @0026                               brif v15, block4, block5(v4, v77)
;;
;;                                 block4 cold:
;; @0026                               v17 = load.i64 notrap aligned region6 v0+56
;; @0026                               v20 = uextend.i64 v2
;; @0026                               v21 = uextend.i64 v4
;; @0026                               v24 = iadd v20, v21
;; @0026                               v18 = ireduce.i32 v17
;; @0026                               v19 = uextend.i64 v18
;; @0026                               v25 = icmp ugt v24, v19
;; @0026                               trapnz v25, user6
;; @0026                               v26 = load.i64 notrap aligned region5 v0+48
;; @0026                               jump block5(v4, v77)
;;
;;                                 block5(v31: i32, v40: i64):
;; @0026                               v39 = load.i64 notrap aligned region3 v5
;; @0026                               v41 = icmp uge v39, v40
;; @0026                               brif v41, block8, block7(v40)
;;
;;                                 block8 cold:
;; @0026                               v43 = load.i64 notrap aligned region4 v7+8
;; @0026                               v44 = icmp.i64 uge v39, v43
;; @0026                               brif v44, block9, block7(v43)
;;
;;                                 block9 cold:
;; @0026                               call fn1(v0)
;; @0026                               v46 = load.i64 notrap aligned region4 v7+8
;; @0026                               jump block7(v46)
;;
;;                                 block7(v79: i64):
;; @0026                               v47 = load.i64 notrap aligned region6 v0+56
;; @0026                               v35 = isub.i32 v4, v31
;; @0026                               v37 = iadd.i32 v2, v35
;; @0026                               v50 = uextend.i64 v37
;;                                     v91 = iconst.i32 8192
;;                                     v92 = umin.i32 v31, v91  ; v91 = 8192
;; @0026                               v51 = uextend.i64 v92
;; @0026                               v54 = iadd v50, v51
;; @0026                               v48 = ireduce.i32 v47
;; @0026                               v49 = uextend.i64 v48
;; @0026                               v55 = icmp ugt v54, v49
;; @0026                               trapnz v55, user6
;; @0026                               v56 = load.i64 notrap aligned region5 v0+48
;;                                     v93 = iconst.i64 0
;;                                     v94 = icmp eq v51, v93  ; v93 = 0
;;                                     v95 = iconst.i64 3
;;                                     v96 = ishl v50, v95  ; v95 = 3
;; @0026                               v60 = iadd v56, v96
;; @0026                               v22 = iconst.i64 1
;; @0026                               v69 = bor.i64 v3, v22  ; v22 = 1
;; @0026                               v28 = iconst.i64 8
;;                                     v100 = ishl v51, v95  ; v95 = 3
;; @0026                               v64 = iadd v60, v100
;; @0026                               brif v94, block11, block10(v60)
;;
;;                                 block10(v67: i64):
;;                                     v97 = bor.i64 v3, v22  ; v22 = 1
;; @0026                               store notrap aligned region7 v97, v67
;;                                     v98 = iconst.i64 8
;;                                     v99 = iadd v67, v98  ; v98 = 8
;; @0026                               v72 = icmp eq v99, v64
;; @0026                               brif v72, block11, block10(v99)
;;
;;                                 block11:
;; @0026                               v34 = isub.i32 v31, v92
;; @0026                               brif v34, block5(v34, v79), block6
;;
;;                                 block6:
;; @0029                               jump block1
;;
;;                                 block1:
;; @0029                               return
;; }
