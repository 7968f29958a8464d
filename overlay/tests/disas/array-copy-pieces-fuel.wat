;;! target = "x86_64"
;;! test = "optimize"
;;! flags = "-W gc,fuel=1"

(module
  (type $bytes (array (mut i8)))
  (func $copy (param (ref $bytes) i32 (ref $bytes) i32 i32)
    (array.copy $bytes $bytes
      (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4))))

;; function u0:0(i64 vmctx, i64, i32, i32, i32, i32, i32) tail {
;;     ss0 = explicit_slot 4, align = 4
;;     ss1 = explicit_slot 4, align = 4
;;     region0 = 8 "VMContext+0x8"
;;     region1 = 67108888 "VMStoreContext+0x18"
;;     region2 = 67108864 "VMStoreContext+0x0"
;;     region3 = 67108896 "VMStoreContext+0x20"
;;     region4 = 67108904 "VMStoreContext+0x28"
;;     region5 = 536870912 "GcHeap"
;;     region6 = 1543503873 "Stack(ss1)"
;;     region7 = 1543503872 "Stack(ss0)"
;;     gv0 = vmctx
;;     gv1 = load.i64 notrap aligned readonly can_move region0 gv0+8
;;     gv2 = load.i64 notrap aligned region1 gv1+24
;;     sig0 = (i64 vmctx) -> i8 tail
;;     sig1 = (i64 vmctx, i64) -> i8 tail
;;     sig2 = (i64 vmctx, i64, i32) -> i8 tail
;;     sig3 = (i64 vmctx, i64, i64, i64) tail
;;     fn0 = colocated u805306368:12 sig0
;;     fn1 = colocated u805306368:14 sig1
;;     fn2 = colocated u805306368:13 sig2
;;     fn3 = colocated u805306368:1 sig3
;;     stack_limit = gv2
;;
;;                                 block0(v0: i64, v1: i64, v2: i32, v3: i32, v4: i32, v5: i32, v6: i32):
;;                                     v261 = stack_addr.i64 ss0
;;                                     store notrap aligned region7 v2, v261
;;                                     v262 = stack_addr.i64 ss1
;;                                     store notrap aligned region6 v4, v262
;; @0020                               v7 = load.i64 notrap aligned readonly can_move region0 v0+8
;; @0020                               v8 = load.i64 notrap aligned region2 v7
;; @0020                               v9 = iconst.i64 1
;; @0020                               v10 = iadd v8, v9  ; v9 = 1
;; @0020                               v11 = iconst.i64 0
;; @0020                               v12 = icmp sge v10, v11  ; v11 = 0
;; @0020                               brif v12, block2, block3(v10)
;;
;;                                 block2:
;;                                     v269 = iadd.i64 v8, v9  ; v9 = 1
;; @0020                               store notrap aligned region2 v269, v7
;; @0020                               v14 = call fn0(v0), stack_map=[i32 @ ss0+0, i32 @ ss1+0]
;; @0020                               v16 = load.i64 notrap aligned region2 v7
;; @0020                               jump block3(v16)
;;
;;                                 block3(v22: i64):
;; @002b                               v25 = iconst.i32 8192
;; @002b                               v26 = icmp.i32 ugt v6, v25  ; v25 = 8192
;; @002b                               v27 = iconst.i8 0
;; @002b                               v23 = iconst.i64 6
;; @002b                               v24 = iadd v22, v23  ; v23 = 6
;;                                     v271 = load.i64 notrap aligned readonly can_move region3 v7+32
;;                                     v272 = iconst.i64 16
;; @002b                               v149 = iconst.i32 0
;; @002b                               v46 = iconst.i64 20
;; @002b                               brif v26, block4, block5(v6, v27, v24)  ; v27 = 0
;;
;;                                 block4 cold:
;;                                     v260 = load.i32 notrap aligned region7 v261
;; @002b                               trapz v260, user16
;; @002b                               v30 = load.i64 notrap aligned readonly can_move region3 v7+32
;; @002b                               v28 = uextend.i64 v260
;; @002b                               v31 = iadd v30, v28
;; @002b                               v32 = iconst.i64 16
;; @002b                               v33 = iadd v31, v32  ; v32 = 16
;; @002b                               v34 = load.i32 user2 readonly region5 v33
;; @002b                               v36 = uextend.i64 v3
;; @002b                               v37 = uextend.i64 v6
;; @002b                               v40 = iadd v36, v37
;; @002b                               v35 = uextend.i64 v34
;; @002b                               v41 = icmp ugt v40, v35
;; @002b                               trapnz v41, user17
;;                                     v254 = load.i32 notrap aligned region6 v262
;; @002b                               trapz v254, user16
;; @002b                               v52 = uextend.i64 v254
;; @002b                               v55 = iadd v30, v52
;; @002b                               v57 = iadd v55, v32  ; v32 = 16
;; @002b                               v58 = load.i32 user2 readonly region5 v57
;; @002b                               v60 = uextend.i64 v5
;; @002b                               v64 = iadd v60, v37
;; @002b                               v59 = uextend.i64 v58
;; @002b                               v65 = icmp ugt v64, v59
;; @002b                               trapnz v65, user17
;;                                     v270 = iadd.i64 v22, v23  ; v23 = 6
;; @002b                               store notrap aligned region2 v270, v7
;; @002b                               v80 = call fn1(v0, v37), stack_map=[i32 @ ss0+0, i32 @ ss1+0]
;; @002b                               v82 = load.i64 notrap aligned region2 v7
;; @002b                               v83 = icmp.i32 ugt v3, v5
;; @002b                               jump block5(v6, v83, v82)
;;
;;                                 block5(v84: i32, v85: i8, v143: i64):
;;                                     v248 = load.i32 notrap aligned region7 v261
;; @002b                               trapz v248, user16
;; @002b                               v92 = uextend.i64 v248
;; @002b                               v95 = iadd.i64 v271, v92
;; @002b                               v97 = iadd v95, v272  ; v272 = 16
;; @002b                               v98 = load.i32 user2 readonly region5 v97
;;                                     v273 = iconst.i32 8192
;;                                     v274 = umin v84, v273  ; v273 = 8192
;; @002b                               v87 = isub v84, v274
;; @002b                               v88 = isub.i32 v6, v84
;; @002b                               v89 = select v85, v87, v88
;; @002b                               v90 = iadd.i32 v3, v89
;; @002b                               v100 = uextend.i64 v90
;; @002b                               v101 = uextend.i64 v274
;; @002b                               v104 = iadd v100, v101
;; @002b                               v99 = uextend.i64 v98
;; @002b                               v105 = icmp ugt v104, v99
;; @002b                               trapnz v105, user17
;;                                     v242 = load.i32 notrap aligned region6 v262
;; @002b                               trapz v242, user16
;; @002b                               v116 = uextend.i64 v242
;; @002b                               v119 = iadd.i64 v271, v116
;; @002b                               v121 = iadd v119, v272  ; v272 = 16
;; @002b                               v122 = load.i32 user2 readonly region5 v121
;; @002b                               v91 = iadd.i32 v5, v89
;; @002b                               v124 = uextend.i64 v91
;; @002b                               v128 = iadd v124, v101
;; @002b                               v123 = uextend.i64 v122
;; @002b                               v129 = icmp ugt v128, v123
;; @002b                               trapnz v129, user17
;; @002b                               v144 = iadd v143, v101
;; @002b                               v145 = band v143, v144
;;                                     v275 = iconst.i64 0
;;                                     v276 = icmp sge v145, v275  ; v275 = 0
;; @002b                               brif v276, block7, block8(v144)
;;
;;                                 block7 cold:
;; @002b                               store.i64 notrap aligned region2 v143, v7
;;                                     v277 = iconst.i32 0
;; @002b                               v150 = call fn2(v0, v101, v277), stack_map=[i32 @ ss0+0, i32 @ ss1+0]  ; v277 = 0
;; @002b                               v152 = load.i64 notrap aligned region2 v7
;; @002b                               jump block8(v152)
;;
;;                                 block8(v221: i64):
;;                                     v236 = load.i32 notrap aligned region7 v261
;; @002b                               trapz v236, user16
;; @002b                               v153 = uextend.i64 v236
;; @002b                               v156 = iadd.i64 v271, v153
;; @002b                               v158 = iadd v156, v272  ; v272 = 16
;; @002b                               v159 = load.i32 user2 readonly region5 v158
;; @002b                               v160 = uextend.i64 v159
;; @002b                               v166 = icmp.i64 ugt v104, v160
;; @002b                               trapnz v166, user17
;;                                     v230 = load.i32 notrap aligned region6 v262
;; @002b                               trapz v230, user16
;; @002b                               v177 = uextend.i64 v230
;; @002b                               v180 = iadd.i64 v271, v177
;; @002b                               v182 = iadd v180, v272  ; v272 = 16
;; @002b                               v183 = load.i32 user2 readonly region5 v182
;; @002b                               v184 = uextend.i64 v183
;; @002b                               v190 = icmp.i64 ugt v128, v184
;; @002b                               trapnz v190, user17
;; @002b                               v209 = load.i64 notrap aligned region4 v7+40
;;                                     v278 = iconst.i64 20
;;                                     v279 = iadd v156, v278  ; v278 = 20
;; @002b                               v176 = iadd v279, v100
;; @002b                               v211 = uadd_overflow_trap v176, v101, user2
;; @002b                               v210 = iadd.i64 v271, v209
;; @002b                               v212 = icmp ugt v211, v210
;; @002b                               trapnz v212, user2
;;                                     v280 = iadd v180, v278  ; v278 = 20
;; @002b                               v200 = iadd v280, v124
;; @002b                               v218 = uadd_overflow_trap v200, v101, user2
;; @002b                               v219 = icmp ugt v218, v210
;; @002b                               trapnz v219, user2
;; @002b                               store notrap aligned region2 v221, v7
;; @002b                               call fn3(v0, v176, v200, v101), stack_map=[i32 @ ss0+0, i32 @ ss1+0]
;; @002b                               v223 = load.i64 notrap aligned region2 v7
;; @002b                               brif.i32 v87, block5(v87, v85, v223), block6
;;
;;                                 block6:
;; @002f                               jump block1
;;
;;                                 block1:
;; @002f                               return
;; }
